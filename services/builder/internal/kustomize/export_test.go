package kustomize

import (
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
)

// BuildWithKustomize is Build without the fast path.
func BuildWithKustomize(tree *artifact.Tree, spec *kustomizev1.KustomizationSpec) (Result, error) {
	return run(newFiles(tree, nil), spec, buildAny)
}
