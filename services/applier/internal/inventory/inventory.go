package inventory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Entry is one object of an inventory as a status stores it.
type Entry struct {
	// ID is <namespace>_<name>_<group>_<kind>; empty parts are kept.
	ID string
	// Version is the API version without its group.
	Version string
}

// colon stands for ':' in an id, which RBAC names may hold and file names may not.
const colon = "__"

// ID returns the id of an object.
func ID(r cluster.Ref) string {
	name := r.Name
	if r.Group == rbac {
		name = strings.ReplaceAll(name, ":", colon)
	}
	return strings.Join([]string{r.Namespace, name, r.Group, r.Kind}, "_")
}

const rbac = "rbac.authorization.k8s.io"

// EntryOf returns the entry of an object.
func EntryOf(r cluster.Ref) Entry { return Entry{ID: ID(r), Version: r.Version} }

// Parse returns the object that an entry names.
func Parse(e Entry) (cluster.Ref, error) {
	bad := func(why string) (cluster.Ref, error) {
		return cluster.Ref{}, fmt.Errorf("parse inventory id %q: %s", e.ID, why)
	}
	namespace, rest, ok := strings.Cut(e.ID, "_")
	if !ok {
		return bad("no separator after the namespace")
	}
	rest, kind, ok := cutLast(rest)
	if !ok {
		return bad("no separator before the kind")
	}
	name, group, ok := cutLast(rest)
	if !ok {
		return bad("no separator before the group")
	}
	if name == "" || kind == "" {
		return bad("name and kind must not be empty")
	}
	if group == rbac {
		name = strings.ReplaceAll(name, colon, ":")
	}
	return cluster.Ref{Group: group, Version: e.Version, Kind: kind, Namespace: namespace, Name: name}, nil
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '_')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// ParseAll returns the objects that entries name.
func ParseAll(entries []Entry) ([]cluster.Ref, error) {
	refs := make([]cluster.Ref, 0, len(entries))
	for _, e := range entries {
		r, err := Parse(e)
		if err != nil {
			return nil, err
		}
		refs = append(refs, r)
	}
	return refs, nil
}

// Of returns the inventory of objects, sorted by id.
func Of(objects []*unstructured.Unstructured) []Entry {
	refs := make([]cluster.Ref, 0, len(objects))
	for _, o := range objects {
		refs = append(refs, cluster.RefOf(o))
	}
	return OfRefs(refs)
}

// OfRefs returns the inventory of named objects, sorted by id, each once.
func OfRefs(refs []cluster.Ref) []Entry {
	entries := make([]Entry, 0, len(refs))
	for _, r := range refs {
		entries = append(entries, EntryOf(r))
	}
	return normal(entries)
}

// Stale returns the entries of previous that current no longer has: what to
// prune. The version does not count, it is the same object. Nor does a namespace that one of the two has
// and the other has not: the kind has none, and a manifest that names one was noted before its kind was known.
func Stale(previous, current []Entry) []Entry {
	keep := make(map[string]bool, len(current))
	for _, e := range current {
		namespace, rest, _ := strings.Cut(e.ID, "_")
		keep[e.ID] = true
		if namespace == "" {
			keep["*_"+rest] = true // whatever namespace it had
		} else {
			keep["_"+rest] = true
		}
	}
	var stale []Entry
	for _, e := range previous {
		if _, rest, _ := strings.Cut(e.ID, "_"); !keep[e.ID] && !keep["*_"+rest] {
			stale = append(stale, e)
		}
	}
	return stale
}

// Merge returns current with extra added, as after a deletion that failed.
func Merge(current, extra []Entry) []Entry {
	return normal(append(slices.Clone(current), extra...))
}

func normal(entries []Entry) []Entry {
	slices.SortStableFunc(entries, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(entries, func(a, b Entry) bool { return a.ID == b.ID })
}
