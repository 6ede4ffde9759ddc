package applier_test

import (
	"fmt"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// clusterScoped has an object of a kind without namespace, whose manifest names one, another and none, as
// kustomize gives one to every kind that it does not know. It is one object all the time: its edits and its deletion
// are made good, it is never pruned while it is rendered, and gone when it is not.
func clusterScoped(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	definition := strings.ReplaceAll(a.definition(), "scope: Namespaced", "scope: Cluster")
	name := client.ObjectKey{Name: "w"}
	live := func() (*unstructured.Unstructured, error) {
		u := &unstructured.Unstructured{}
		u.SetAPIVersion(a.namespace + ".example.com/v1")
		u.SetKind("Widget")
		return u, a.Get(t.Context(), name, u)
	}
	holds := func(what, value string) (u *unstructured.Unstructured) {
		t.Helper()
		a.until(what, func() (err error) {
			if u, err = live(); err != nil {
				return err
			}
			if v, _, _ := unstructured.NestedString(u.Object, "spec", "v"); v != value {
				return fmt.Errorf("it holds %q, want %q", v, value)
			}
			return nil
		})
		return u
	}
	var uid string
	for n, namespace := range []string{"", ", namespace: NS", ", namespace: elsewhere", ""} {
		value := fmt.Sprint(n)
		a.moveSource("main@sha1:scoped" + value)
		a.build(definition, fmt.Sprintf("apiVersion: %s.example.com/v1\nkind: Widget\nmetadata: {name: w%s}\nspec: {v: %q}\n", a.namespace, namespace, value))
		ks := a.ready()
		a.settled()
		u := holds("the render", value)
		if uid != "" && string(u.GetUID()) != uid {
			t.Errorf("metadata: {name: w%s}: it was made anew", namespace)
		}
		if got := widgets(ks); len(got) != 1 || !strings.HasPrefix(got[0], "_w_") {
			t.Errorf("metadata: {name: w%s}: the inventory names %v", namespace, got)
		}
		edited := u.DeepCopy()
		if err := unstructured.SetNestedField(edited.Object, "edited", "spec", "v"); err != nil {
			t.Fatal(err)
		}
		if err := a.Patch(t.Context(), edited, client.MergeFrom(u), client.FieldOwner("somebody")); err != nil {
			t.Fatal(err)
		}
		uid = string(holds("an edit is put back", value).GetUID())
	}
	u, err := live()
	if err == nil {
		err = a.Delete(t.Context(), u)
	}
	if err != nil {
		t.Fatal(err)
	}
	holds("a deletion is made good", "3")
	a.moveSource("main@sha1:without")
	a.build(definition)
	a.ready()
	a.until("it is pruned", func() error {
		if _, err := live(); err == nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
}

// widgets are the ids of Widgets in an inventory.
func widgets(ks *kustomizev1.Kustomization) (ids []string) {
	if ks.Status.Inventory == nil {
		return nil
	}
	for _, e := range ks.Status.Inventory.Entries {
		if strings.HasSuffix(e.ID, "_Widget") {
			ids = append(ids, e.ID)
		}
	}
	return ids
}
