// Package desired finds out what a Kustomization should run: the newest build,
// checked against the source and the spec that the API server has, and the
// render it points to.
package desired

import (
	"context"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/kube"
)

// Source is the artifact a Kustomization should be at.
type Source struct {
	// Missing says why there is no artifact; empty when there is one.
	Missing string
	// Absent is true when the source object itself does not exist.
	Absent bool

	Revision, Digest string
}

// Sources reads sources from the watch's cache, where the kind is watched, and
// from the API server.
type Sources struct {
	Cache, Live client.Reader
	// Watched says whether the cache has a kind of source.
	Watched func(kind string) bool
}

// Read returns the source of ks; live asks the API server although a watch has
// an answer.
func (s Sources) Read(ctx context.Context, ks *kustomizev1.Kustomization, live bool) (Source, error) {
	kind, name := kube.SourceOf(ks)
	object := kube.NewSource(kind)
	if object == nil {
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
	return Source{Revision: artifact.Revision, Digest: artifact.Digest}, nil
}
