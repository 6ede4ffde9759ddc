package engine

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// An item shares with the render what it does not set, and changes nothing of it.
func TestItemsLeaveTheRenderAsItIs(t *testing.T) {
	object := func(kind string, fields map[string]any) *unstructured.Unstructured {
		fields["kind"] = kind
		fields["metadata"] = map[string]any{"name": "a", "labels": map[string]any{"app": "a"}, "uid": "u"}
		return &unstructured.Unstructured{Object: fields}
	}
	rendered := []*unstructured.Unstructured{
		object("ConfigMap", map[string]any{"apiVersion": "v1", "data": map[string]any{"a": "b"}}),
		object("Secret", map[string]any{"apiVersion": "v1", "data": map[string]any{"a": "Yg=="}, "stringData": map[string]any{"c": "d"}}),
		object("CustomResourceDefinition", map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "spec": map[string]any{
			"conversion": map[string]any{"webhook": map[string]any{"clientConfig": map[string]any{"caBundle": "Cg=="}}},
		}}),
	}
	var before []*unstructured.Unstructured
	for _, o := range rendered {
		before = append(before, o.DeepCopy())
	}
	items, err := prepare(rendered, cluster.Owner{Namespace: "apps", Name: "shop"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range items {
		i.before.UID, i.exists = "v", true
		i.body(i.desired)
	}
	if diff := cmp.Diff(before, rendered); diff != "" {
		t.Error(diff)
	}
}

// A render is in memory once, however large it is: that is what it is bounded for.
func TestItemsTakeNoMemoryForWhatIsInTheRender(t *testing.T) {
	values := make([]any, 0, 100_000)
	for range cap(values) {
		values = append(values, map[string]any{"a": "b"})
	}
	o := cluster.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "a", Name: "b"}.Object()
	o.Object["x"] = values
	empty := heap()
	items, err := prepare([]*unstructured.Unstructured{o}, cluster.Owner{Namespace: "a", Name: "b"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if taken := heap() - empty; taken > 4<<20 {
		t.Errorf("%d KiB were taken for %d values that the render has", taken>>10, len(values))
	}
	runtime.KeepAlive(o)
	runtime.KeepAlive(items)
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What an API server says of an object that is another one by now is cut like all that it says, the values of a Secret before.
func TestConflictsAreToldBriefly(t *testing.T) {
	secret := cluster.Ref{Version: "v1", Kind: "Secret", Namespace: "a", Name: "b"}.Object()
	secret.Object["stringData"] = map[string]any{"a": strings.Repeat("hunter2", 100)}
	i := &item{ref: cluster.RefOf(secret), desired: secret, exists: true}
	i.before.UID = "u"
	err := applyError(i, apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, "b",
		errors.New("the UID differs "+strings.Repeat("hunter2", 100)+strings.Repeat(" →", 1<<20))))
	if text := err.Error(); !errors.Is(err, ErrConflict) || len(text) > 2*maxConflict || strings.Contains(text, "hunter2") {
		t.Errorf("%d bytes: %.200s", len(text), text)
	}
}
