package generator

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// origin is a source as it is now.
type origin struct {
	key      events.Key
	artifact *meta.Artifact
	// tree is the artifact's content; nil until it was opened.
	tree *pack.Unpacked
}

// sources are the origins by alias.
type sources struct {
	by map[string]*origin
	// trees is nil until the artifacts were opened.
	trees *pack.Trees
}

func (s *sources) get(what, alias string) (*origin, error) {
	if found := s.by[alias]; found != nil {
		return found, nil
	}
	return nil, invalid("%s: there is no source with the alias %q", what, alias)
}

// digest is what status.observedSourcesDigest says of the sources.
func (s *sources) digest() string {
	observed := map[string]generatorv1.ObservedSource{}
	for alias, o := range s.by {
		observed[alias] = generatorv1.ObservedSource{
			Digest: o.artifact.Digest, Revision: o.artifact.Revision, OriginRevision: o.artifact.Metadata[source.OriginRevision], URL: o.artifact.URL,
		}
	}
	return generatorv1.HashObservedSources(observed)
}

func (s *sources) close() error {
	if s.trees == nil {
		return nil
	}
	return s.trees.Close()
}

// sources reads what the statuses of the sources say.
func (k *Kind) sources(ctx context.Context, o *generatorv1.ArtifactGenerator) (*sources, error) {
	all := &sources{by: map[string]*origin{}}
	for _, ref := range o.Spec.Sources {
		key := keyOf(o, ref)
		name := fmt.Sprintf("%s/%s/%s", ref.Kind, key.Namespace, key.Name)
		artifact, err := k.artifactOf(ctx, ref.Kind, key)
		if err == nil && artifact == nil {
			err = errors.New("has no artifact yet")
		}
		if err != nil {
			return nil, &failure{reason: generatorv1.SourceFetchFailedReason, wait: sourceWait, err: fmt.Errorf("source '%s': %w", name, err)}
		}
		all.by[ref.Alias] = &origin{key: key, artifact: artifact}
	}
	return all, nil
}

func (k *Kind) artifactOf(ctx context.Context, kind string, key events.Key) (*meta.Artifact, error) {
	var obj interface {
		client.Object
		GetArtifact() *meta.Artifact
	}
	switch kind {
	case sourcev1.GitRepositoryKind:
		obj = &sourcev1.GitRepository{}
	case sourcev1.OCIRepositoryKind:
		obj = &sourcev1.OCIRepository{}
	case sourcev1.BucketKind:
		obj = &sourcev1.Bucket{}
	case sourcev1.HelmChartKind:
		obj = &sourcev1.HelmChart{}
	case sourcev1.ExternalArtifactKind:
		obj = &sourcev1.ExternalArtifact{}
	default:
		return nil, invalid("kind %q cannot be a source", kind)
	}
	if err := k.Live.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: key.Name}, obj); err != nil {
		return nil, err
	}
	return obj.GetArtifact(), nil
}

// open reads the content of the sources.
func (k *Kind) open(ctx context.Context, all *sources) error {
	all.trees = pack.NewTrees(k.Shelf.Scratch, k.Shelf.Limits)
	for _, o := range all.by {
		var err error
		o.tree, err = all.trees.Unpack(ctx, o.key.String()+"@"+o.artifact.Digest, func() (io.ReadCloser, error) {
			return k.Artifact(ctx, o.key, o.artifact.Digest)
		})
		if err != nil {
			return &failure{reason: generatorv1.SourceFetchFailedReason, wait: sourceWait, err: fmt.Errorf("read artifact of %s: %w", o.key, err)}
		}
	}
	return nil
}
