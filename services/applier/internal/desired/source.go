// Package desired finds out what a Kustomization should run: the newest build,
// checked against the source and the spec that the API server has, and the
// render it points to.
package desired

import (
	"context"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/applier/internal/depend"
)

// originAnnotation is the artifact metadata that names the revision in the
// system the artifact was made from (OCI image spec).
const originAnnotation = "org.opencontainers.image.revision"

// Source is the artifact a Kustomization should be at.
type Source struct {
	// Missing says why there is no artifact; empty when there is one.
	Missing string
	// Absent is true when the source object itself does not exist.
	Absent bool

	Revision, OriginRevision, Digest string
}

// Sources reads sources from the watch's cache, where the kind is watched, and
// from the API server.
type Sources struct {
	Cache, Live client.Reader
	// Watched says whether the cache has a kind of source.
	Watched func(kind string) bool
}

// withArtifact is a source of any kind.
type withArtifact interface {
	client.Object
	GetArtifact() *fluxmeta.Artifact
}

// SourceKinds lists the kinds that a Kustomization can name as its source.
func SourceKinds() []string {
	return []string{sourcev1.GitRepositoryKind, sourcev1.OCIRepositoryKind, sourcev1.BucketKind, sourcev1.ExternalArtifactKind}
}

// NewSource returns an empty object of a kind of source, or nil when it is none.
func NewSource(kind string) client.Object {
	switch kind {
	case sourcev1.GitRepositoryKind:
		return &sourcev1.GitRepository{}
	case sourcev1.OCIRepositoryKind:
		return &sourcev1.OCIRepository{}
	case sourcev1.BucketKind:
		return &sourcev1.Bucket{}
	case sourcev1.ExternalArtifactKind:
		return &sourcev1.ExternalArtifact{}
	case sourcev1.HelmChartKind:
		return &sourcev1.HelmChart{}
	}
	return nil
}

// HasArtifact says whether a source has an artifact.
func HasArtifact(source client.Object) bool {
	s, ok := source.(withArtifact)
	return ok && s.GetArtifact() != nil
}

// Read returns the source of ks; live asks the API server although a watch has
// an answer.
func (s Sources) Read(ctx context.Context, ks *kustomizev1.Kustomization, live bool) (Source, error) {
	kind, name := depend.SourceOf(ks)
	object, ok := NewSource(kind).(withArtifact)
	if !ok {
		return Source{Missing: fmt.Sprintf("sources of kind %s are not supported", kind), Absent: true}, nil
	}
	reader := s.Cache
	if live || !s.Watched(kind) {
		reader = s.Live
	}
	err := reader.Get(ctx, name, object)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return Source{Missing: err.Error(), Absent: true}, nil
	}
	if err != nil {
		return Source{}, fmt.Errorf("read %s %s: %w", kind, name, err)
	}
	artifact := object.GetArtifact()
	if artifact == nil {
		return Source{Missing: "Source artifact not found, retrying in 30s"}, nil
	}
	return Source{
		Revision: artifact.Revision, Digest: artifact.Digest, OriginRevision: artifact.Metadata[originAnnotation],
	}, nil
}
