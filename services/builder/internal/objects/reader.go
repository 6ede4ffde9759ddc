package objects

import (
	"context"
	"fmt"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
)

// Reader reads objects.
type Reader struct {
	// Cache is fed by watches, Live asks the API server.
	Cache, Live client.Reader
	// AgeSecret has age keys for Kustomizations that name no Secret of their own;
	// nil means that there is none.
	AgeSecret *client.ObjectKey
	// Watched says whether the cache has a kind of source.
	Watched func(kind string) bool
}

// Kustomization returns an object, or nil when it does not exist.
func (r Reader) Kustomization(ctx context.Context, key events.Key, live bool) (*kustomizev1.Kustomization, error) {
	reader := r.Cache
	if live {
		reader = r.Live
	}
	ks := &kustomizev1.Kustomization{}
	err := reader.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, ks)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Kustomization %s/%s: %w", key.Namespace, key.Name, err)
	}
	return ks, nil
}

// Source is what a Kustomization or a HelmRelease is built from.
type Source struct {
	// Key of the source; Kind is as the API spells it.
	Key  events.Key
	Kind string
	// Absent: there is no such object, or no such kind in this cluster.
	Absent bool
	// Version is the source's resourceVersion.
	Version string
	// Artifact is nil while the source has none.
	Artifact *fluxmeta.Artifact
}

// SourceKey returns the key of a Kustomization's source.
func SourceKey(ks *kustomizev1.Kustomization) events.Key {
	kind, name := kube.SourceOf(ks)
	return events.NewKey(kind, name.Namespace, name.Name)
}

// Source reads the source of a Kustomization.
func (r Reader) Source(ctx context.Context, ks *kustomizev1.Kustomization, live bool) (Source, error) {
	kind := ks.Spec.SourceRef.Kind
	if !slices.Contains(kube.SourceKinds(), kind) {
		return Source{Key: SourceKey(ks), Kind: kind, Absent: true}, nil
	}
	return r.source(ctx, Source{Key: SourceKey(ks), Kind: kind}, live)
}

// source fills in what the cluster has of a source.
func (r Reader) source(ctx context.Context, source Source, live bool) (Source, error) {
	object := kube.NewSource(source.Kind)
	if object == nil {
		source.Absent = true
		return source, nil
	}
	reader := r.Cache
	if live || !r.Watched(source.Kind) {
		reader = r.Live
	}
	err := reader.Get(ctx, client.ObjectKey{Namespace: source.Key.Namespace, Name: source.Key.Name}, object)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		source.Absent = true
		return source, nil
	}
	if err != nil {
		return source, fmt.Errorf("read %s %s/%s: %w", source.Kind, source.Key.Namespace, source.Key.Name, err)
	}
	source.Version, source.Artifact = object.GetResourceVersion(), object.GetArtifact()
	return source, nil
}
