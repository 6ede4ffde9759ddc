package ignore

import (
	"fmt"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
)

// owners are the fields of a live object by who has them.
type owners struct {
	// appliers are others that apply: a field of theirs stays without us.
	appliers []*fieldpath.Set
	// ours are fields that an apply of ours removes when it does not name them.
	ours []*fieldpath.Set
}

// Leave returns the object to apply so that the live object keeps its values at the
// pointers: what another manager applies is left out, and of the rest the live
// value is taken. The overrides are managers whose fields manager takes over.
func Leave(desired, live *unstructured.Unstructured, pointers []Pointer, manager string, overrides ...string) (*unstructured.Unstructured, error) {
	who, err := ownersOf(live.GetManagedFields(), manager, overrides)
	if err != nil {
		return nil, fmt.Errorf("read who manages %s: %w", cluster.RefOf(live), err)
	}
	left := desired.DeepCopy()
	for _, p := range pointers {
		there := counterpart(desired.Object, live.Object, p)
		_, wanted := find(left.Object, p)
		now, exists := find(live.Object, there)
		switch {
		case !exists || has(who.appliers, there, live.Object):
			remove(left.Object, p)
		case wanted || has(who.ours, there, live.Object):
			put(left.Object, p, runtime.DeepCopyJSONValue(now))
		}
	}
	return left, nil
}

func ownersOf(entries []metav1.ManagedFieldsEntry, manager string, overrides []string) (who owners, err error) {
	for _, e := range entries {
		applies := e.Operation == metav1.ManagedFieldsOperationApply
		ours := applies && e.Manager == manager && e.Subresource == "" || livestate.Absorbs(e, overrides)
		if !ours && !applies {
			continue
		}
		set, err := livestate.FieldSet(e)
		if err != nil {
			return owners{}, err
		}
		if ours {
			who.ours = append(who.ours, set)
		} else {
			who.appliers = append(who.appliers, set)
		}
	}
	return who, nil
}

func has(sets []*fieldpath.Set, p Pointer, live any) bool {
	return slices.ContainsFunc(sets, func(set *fieldpath.Set) bool { return Has(set, p, live) })
}

// Has reports whether a set of fields has something at a pointer into a live object,
// or below.
func Has(set *fieldpath.Set, p Pointer, live any) (found bool) {
	set.Iterate(func(path fieldpath.Path) { found = found || leads(path, p, live) })
	return found
}

func leads(path fieldpath.Path, p Pointer, node any) bool {
	if len(path) < len(p) {
		return false
	}
	for i, token := range p {
		next, ok := child(node, token)
		if !ok || !names(path[i], token, next) {
			return false
		}
		node = next
	}
	return true
}

// names reports whether a path element is what a token leads to.
func names(e fieldpath.PathElement, token string, node any) bool {
	switch {
	case e.FieldName != nil:
		return *e.FieldName == token
	case e.Index != nil:
		return fmt.Sprint(*e.Index) == token
	case e.Value != nil:
		return value.Equals(*e.Value, value.NewValueInterface(node))
	case e.Key != nil:
		item, ok := node.(map[string]any)
		for _, field := range *e.Key {
			ok = ok && value.Equals(field.Value, value.NewValueInterface(item[field.Name]))
		}
		return ok
	}
	return false
}

// PointerOf returns the pointer to where a managed field is in a live object; ok is
// false when it is not there.
func PointerOf(path fieldpath.Path, live any) (p Pointer, ok bool) {
	for _, e := range path {
		token := ""
		switch n := live.(type) {
		case map[string]any:
			if e.FieldName == nil {
				return nil, false
			}
			token = *e.FieldName
		case []any:
			token = strconv.Itoa(slices.IndexFunc(n, func(item any) bool { return names(e, "", item) }))
			if e.Index != nil {
				token = strconv.Itoa(*e.Index)
			}
		}
		if live, ok = child(live, token); !ok {
			return nil, false
		}
		p = append(p, token)
	}
	return p, true
}
