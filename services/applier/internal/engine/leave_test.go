package engine_test

import (
	"context"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

func TestIgnoredValueIsTheNewestLiveOne(t *testing.T) {
	f := newFixture(t)
	rules, err := ignore.Compile(&kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{
		Ignore: []kustomizev1.IgnoreRule{{Paths: []string{"/data/k"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ref := f.ref("v1", "ConfigMap", "c")
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS}\ndata: {k: one, l: "
	ignoring := func(r *engine.Request) { r.Ignore = rules }
	f.apply(manifest+"one}", ignoring)
	f.edit(ref, "tool", types.MergePatchType, `{"data":{"k":"early"}}`)
	late := func(r *engine.Request) { // after the dry run, before the write
		r.Guard = func(context.Context) error {
			f.edit(ref, "tool", types.MergePatchType, `{"data":{"k":"late"}}`)
			return nil
		}
	}
	if got := f.apply(manifest+"two}", ignoring, late); actions(got) != "ConfigMap/c configured" {
		t.Errorf("the change was: %s", actions(got))
	}
	data, _, _ := unstructured.NestedStringMap(f.get(ref).Object, "data")
	if data["k"] != "late" || data["l"] != "two" {
		t.Errorf("data is %v", data)
	}
}
