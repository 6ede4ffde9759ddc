package livestate

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// maxPerObject is what an object may cost in the table, in bytes of heap.
const maxPerObject = 1200

// TestMemory measures the heap that an applied and watched object takes, and that
// events about it do not make it grow.
func TestMemory(t *testing.T) {
	const objects, perOwner = 10_000, 5
	gvk := schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	table := &Table{
		hash: newHasher(nil, nil, Kustomizations()), now: time.Now, kinds: map[schema.GroupKind]*kind{},
		owned: map[cluster.Owner]map[*record]struct{}{}, outbox: newOutbox(),
	}
	table.Manage(gvk)
	k := table.kinds[gvk.GroupKind()]
	k.watched = true
	f := &feed{table: table, kind: k}
	before := heap()
	for i := range objects {
		owner := cluster.Owner{Namespace: "apps", Name: fmt.Sprintf("app-%d", i/perOwner)}
		m := metadata(i, owner, 1)
		r := cluster.NewRef(gvk, m.Namespace, m.Name)
		table.Begin(r)
		table.Applied(r, owner, fmt.Sprintf("%032x", i), m)
		if err := f.Update(metadata(i, owner, 1)); err != nil {
			t.Fatal(err)
		}
	}
	applied := (heap() - before) / objects
	for round := range 10 {
		for i := range objects {
			if err := f.Update(metadata(i, cluster.Owner{Namespace: "apps", Name: fmt.Sprintf("app-%d", i/perOwner)}, round+2)); err != nil {
				t.Fatal(err)
			}
		}
	}
	after := (heap() - before) / objects
	t.Logf("%d objects: %d bytes each when applied, %d after ten status writes each", objects, applied, after)
	if applied > maxPerObject || after > maxPerObject {
		t.Errorf("an object costs %d bytes, then %d, want at most %d", applied, after, maxPerObject)
	}
	runtime.KeepAlive(table)
}

// metadata is of an object as the API server answers it, after so many writes.
func metadata(i int, owner cluster.Owner, writes int) *metav1.PartialObjectMetadata {
	at := metav1.NewTime(time.Unix(1_700_000_000, 0))
	status := metav1.NewTime(time.Unix(1_700_000_000+int64(writes), 0))
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: owner.Name, Name: fmt.Sprintf("object-%d", i), UID: types.UID(fmt.Sprintf("%08d-0000-4000-8000-000000000000", i)),
		ResourceVersion: fmt.Sprint(1_000_000*writes + i), Labels: owner.Labels(),
		ManagedFields: []metav1.ManagedFieldsEntry{
			{Manager: cluster.Manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "v1", Time: &at, FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:k":{}}}`)},
			{Manager: "controller", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &status, Subresource: "status", FieldsV1: metav1.NewFieldsV1(`{"f:status":{}}`)},
		},
	}}
}

// heap returns the bytes in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
