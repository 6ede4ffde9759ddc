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

// TestLeftAloneAtFirstSight: an object that exists and is left alone is followed, although
// nothing was known of it, nor was its kind watched, when it was met.
func TestLeftAloneAtFirstSight(t *testing.T) {
	rules, err := ignore.Compile(&kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{
		Ignore: []kustomizev1.IgnoreRule{{Paths: []string{""}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const plain = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS}\ndata: {k: new}"
	const once = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}\ndata: {k: new}"
	const optOut = "kustomize.toolkit.fluxcd.io/reconcile"
	for name, tt := range map[string]struct {
		manifest string
		rules    ignore.Rules
		deletion bool // ends it, instead of the end of an opt-out
		want     string
	}{
		"opt-out": {manifest: plain, want: "ConfigMap/c configured"},
		"once":    {manifest: once, deletion: true, want: "ConfigMap/c created"},
		"whole":   {manifest: plain, rules: rules, deletion: true, want: "ConfigMap/c created"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			live := f.objects(plain)[0]
			live.SetLabels(f.owner.Labels())
			if _, _, err := f.client.Apply(t.Context(), live, false); err != nil {
				t.Fatal(err)
			}
			ref := f.ref("v1", "ConfigMap", "c")
			if !tt.deletion {
				f.edit(ref, "tool", types.MergePatchType, `{"metadata":{"annotations":{"`+optOut+`":"disabled"}}}`)
			}
			with := func(r *engine.Request) { r.Ignore = tt.rules }
			if got := f.apply(tt.manifest, with); actions(got) != "ConfigMap/c skipped" {
				t.Fatalf("at first sight: %s", actions(got))
			}
			f.synced()
			if dirty := f.table.Dirty(f.owner); len(dirty) > 0 {
				t.Fatalf("it is dirty while it is left alone")
			}
			if tt.deletion {
				if err := f.client.Delete(t.Context(), ref, ""); err != nil {
					t.Fatal(err)
				}
			} else {
				f.edit(ref, "tool", types.MergePatchType, `{"metadata":{"annotations":{"`+optOut+`":null}},"data":{"k":"old"}}`)
			}
			f.until(func() bool { return len(f.table.Dirty(f.owner)) == 1 })
			if got := f.apply(tt.manifest, with); actions(got) != tt.want {
				t.Errorf("after that: %s, want %s", actions(got), tt.want)
			}
		})
	}
}
