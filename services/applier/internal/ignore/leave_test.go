package ignore_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
)

func object(t *testing.T, body string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte("apiVersion: v1\nkind: Thing\n"+body), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestLeave(t *testing.T) {
	const applied = `
metadata:
  managedFields:
  - {manager: other, operation: Apply, fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:size": {}, "f:list": {"k:{\"name\":\"b\"}": {"f:x": {}}}, "f:set": {"v:\"s\"": {}}}}}
`
	for _, c := range []struct {
		name, why, pointer, desired, live, want string
	}{
		{"adopted", "a live value is taken that nobody else applies", "/spec/size", "spec: {size: 1, m: 1}", "spec: {size: 2, m: 2}", "spec: {size: 2, m: 1}"},
		{"removed", "a value that somebody removed stays removed", "/spec/size", "spec: {size: 1, m: 1}", "spec: {m: 2}", "spec: {m: 1}"},
		{"applied", "what another manager applies is left out", "/spec/size", "spec: {size: 1, m: 1}", "spec: {size: 2, m: 2}" + applied, "spec: {m: 1}"},
		{"below", "a pointer above an applied field leaves all of it out", "/spec", "spec: {size: 1, m: 1}", "spec: {size: 2, m: 2}" + applied, ""},
		{"foreign", "a field nobody asked for is not claimed", "/spec/size", "spec: {m: 1}", "spec: {size: 2, m: 2}", "spec: {m: 1}"},
		{"item", "an item of a list is found by its name, whatever stands before it", "/spec/l/0/x", "spec: {l: [{name: a, x: 1}]}", "spec: {l: [{name: z, x: 9}, {name: a, x: 2}]}", "spec: {l: [{name: a, x: 2}]}"},
		{"item gone", "an item that is not there leads to no value", "/spec/l/0/x", "spec: {l: [{name: a, x: 1}]}", "spec: {l: [{name: z, x: 9}]}", "spec: {l: [{name: a}]}"},
		{"item applied", "an item of another manager is known by its key", "/spec/list/0/x", "spec: {list: [{name: b, x: 1}]}", "spec: {list: [{name: a, x: 3}, {name: b, x: 2}]}" + applied, "spec: {list: [{name: b}]}"},
		{"set", "a value of a set is known by itself", "/spec/set/0", "spec: {set: [s, u]}", "spec: {set: [s, u]}" + applied, "spec: {set: [u]}"},
		{"escaped", "~1 is a slash and ~0 a tilde", "/metadata/annotations/a.b~1c~0", "metadata: {annotations: {a.b/c~: x}}", "metadata: {annotations: {a.b/c~: y}}", "metadata: {annotations: {a.b/c~: y}}"},
		{"nowhere", "a pointer that leads nowhere does nothing", "/spec/l/7/x/y", "spec: {l: [1]}", "spec: {l: [1, 2]}", "spec: {l: [1]}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := ignore.ParsePointer(c.pointer)
			if err != nil {
				t.Fatal(err)
			}
			if p.String() != c.pointer {
				t.Errorf("%s is written as %s", c.pointer, p)
			}
			desired := object(t, c.desired)
			got, err := ignore.Leave(desired, object(t, c.live), []ignore.Pointer{p}, cluster.Manager)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(object(t, c.want).Object, got.Object); diff != "" {
				t.Errorf("%s: %s", c.why, diff)
			}
			if diff := cmp.Diff(object(t, c.desired).Object, desired.Object); diff != "" {
				t.Errorf("the rendered object changed: %s", diff)
			}
		})
	}
}
