package engine

import (
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// managerOf returns who, other than we, wrote a field of a live object last; "" when
// nobody manages it, as after its removal.
func managerOf(live *unstructured.Unstructured, at ignore.Pointer) string {
	var last metav1.ManagedFieldsEntry
	for _, e := range live.GetManagedFields() {
		if e.Manager == cluster.Manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" {
			continue
		}
		set, err := livestate.FieldSet(e)
		if err != nil || !ignore.Has(set, at, live.Object) {
			continue
		}
		if last.Manager == "" || last.Time.Before(e.Time) {
			last = e
		}
	}
	return last.Manager
}
