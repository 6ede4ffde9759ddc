package kustomize_test

import (
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/services/builder/internal/fast/treetest"
	"github.com/sluice-gitops/sluice/services/builder/internal/kustomize"
)

func TestCorpusIsBuiltFast(t *testing.T) {
	for _, repository := range treetest.Corpus() {
		t.Run(repository.Shape, func(t *testing.T) {
			root := tree(repository.Files).open(t)
			spec := &kustomizev1.KustomizationSpec{Path: repository.Folder}
			got, err := kustomize.Build(root, spec, nil)
			if err != nil || !got.Fast || len(got.Objects) != repository.Objects {
				t.Fatalf("%d objects, fast %t, %v", len(got.Objects), got.Fast, err)
			}
			if repository.Objects > 1_000 {
				return // kustomize would need minutes
			}
			want, err := kustomize.BuildWithKustomize(root, spec)
			if diff := cmp.Diff(outcome(t, want, err), outcome(t, got, nil)); diff != "" {
				t.Errorf("differs (-kustomize +fast):\n%s", diff)
			}
		})
	}
}

func TestSpecIsBuiltFast(t *testing.T) {
	tests := []struct{ reason, spec string }{
		{"namespace, prefix and suffix", "targetNamespace: t\nnamePrefix: p-\nnameSuffix: -s\n"},
		{"patches and images", "patches:\n- target: {kind: Pod}\n  patch: |\n    - {op: add, path: /metadata/labels, value: {a: b}}\nimages:\n- {name: app, newTag: v2}\n"},
		{"a component", "components: [../comp]\n"},
		{"origins that stay", "buildMetadata: [originAnnotations]\n"},
	}
	files := tree{"app/a.yaml": configA, "app/deep/p.yaml": pod, "app/k/kustomization.yaml": "resources: [b.yaml]\n", "app/k/b.yaml": configB,
		"comp/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncommonAnnotations: {c: d}\n"}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			root, spec := files.open(t), specOf(t, "path: app\n"+tt.spec)
			got, err := kustomize.Build(root, spec, nil)
			if err != nil || !got.Fast {
				t.Fatalf("fast %t, %v", got.Fast, err)
			}
			want, err := kustomize.BuildWithKustomize(root, spec)
			if diff := cmp.Diff(outcome(t, want, err), outcome(t, got, nil)); diff != "" {
				t.Errorf("differs (-kustomize +fast):\n%s", diff)
			}
		})
	}
}
