package engine

import (
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// managers are those, other than we, who wrote fields of an object.
type managers []manager

type manager struct {
	entry metav1.ManagedFieldsEntry
	set   *fieldpath.Set
}

func managersOf(live *unstructured.Unstructured) managers {
	var all managers
	for _, e := range live.GetManagedFields() {
		if e.Manager == cluster.Manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" {
			continue
		}
		if set, err := livestate.FieldSet(e); err == nil {
			all = append(all, manager{e, set})
		}
	}
	return all
}

// of returns who wrote a field of a live object last; "" when nobody manages it, as after its removal.
func (m managers) of(at ignore.Pointer, live *unstructured.Unstructured) string {
	var last metav1.ManagedFieldsEntry
	for _, other := range m {
		if !ignore.Has(other.set, at, live.Object) {
			continue
		}
		if last.Manager == "" || last.Time.Before(other.entry.Time) {
			last = other.entry
		}
	}
	return last.Manager
}
