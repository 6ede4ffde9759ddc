package livestate

import (
	"bytes"
	"strings"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// restartedAt is the field that `kubectl rollout restart` writes. Putting it back
// would undo the restart, so it is left alone.
var restartedAt = fieldpath.MakePathOrDie("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt")

// Absorbs reports whether the fields of a managedFields entry are to be taken
// over: those of kubectl in any form, of what existed before the first apply, of
// our own updates, and of managers that start with one of overrides. An entry
// that holds nothing but a rollout restart is let be, and so is every subresource.
func Absorbs(e metav1.ManagedFieldsEntry, overrides []string) bool {
	if e.Subresource != "" || !absorbs(e, overrides) {
		return false
	}
	return !onlyRestart(e)
}

func absorbs(e metav1.ManagedFieldsEntry, overrides []string) bool {
	update := e.Operation == metav1.ManagedFieldsOperationUpdate
	if strings.HasPrefix(e.Manager, "kubectl") {
		return true
	}
	if update && (strings.HasPrefix(e.Manager, "before-first-apply") || e.Manager == cluster.Manager) {
		return true
	}
	for _, prefix := range overrides {
		if prefix != "" && strings.HasPrefix(e.Manager, prefix) {
			return true
		}
	}
	return false
}

// onlyRestart reports whether the entry's one field value is the restart annotation.
func onlyRestart(e metav1.ManagedFieldsEntry) bool {
	if !bytes.Contains(fieldsOf(e), []byte("kubectl.kubernetes.io/restartedAt")) {
		return false
	}
	set, err := FieldSet(e)
	if err != nil {
		return false
	}
	_, rest := SplitRestart(set)
	return rest.Empty()
}

// SplitRestart parts a set of fields in the restart annotation and all others.
// Structures that only lead to the annotation belong to it.
func SplitRestart(set *fieldpath.Set) (restart, rest *fieldpath.Set) {
	if !set.Has(restartedAt) {
		return fieldpath.NewSet(), set
	}
	leading := fieldpath.NewSet(restartedAt)
	for i := 1; i < len(restartedAt); i++ {
		leading.Insert(restartedAt[:i])
	}
	rest = set.Difference(leading)
	return set.Intersection(leading), rest
}

// FieldSet reads the fields of a managedFields entry.
func FieldSet(e metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	set := fieldpath.NewSet()
	if err := set.FromJSON(bytes.NewReader(fieldsOf(e))); err != nil {
		return nil, err
	}
	return set, nil
}
