package kube

import (
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Source is an object whose kind makes artifacts.
type Source interface {
	client.Object
	GetArtifact() *fluxmeta.Artifact
}

// SourceKinds lists the kinds that a Kustomization can name as its source.
func SourceKinds() []string {
	return []string{sourcev1.GitRepositoryKind, sourcev1.OCIRepositoryKind, sourcev1.BucketKind, sourcev1.ExternalArtifactKind}
}

// NewSource returns an empty object of a kind that is built or rendered from: one of SourceKinds, or a HelmChart. Of
// other kinds it returns nil.
func NewSource(kind string) Source {
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

// SourceOf returns the kind, namespace and name of the source of a Kustomization.
func SourceOf(ks *kustomizev1.Kustomization) (kind string, name types.NamespacedName) {
	ref := ks.Spec.SourceRef
	namespace := ref.Namespace
	if namespace == "" {
		namespace = ks.Namespace
	}
	return ref.Kind, types.NamespacedName{Namespace: namespace, Name: ref.Name}
}
