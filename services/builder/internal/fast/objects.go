package fast

import (
	"fmt"
	"slices"

	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/resid"
)

// identity is what makes two ids of kustomize equal.
type identity struct{ group, version, kind, namespace, name string }

func identityOf(id resid.ResId) identity {
	return identity{id.Group, id.Version, id.Kind, id.EffectiveNamespace(), id.Name}
}

// objectList is objects in their order, no two with one id.
type objectList struct {
	items []*resource.Resource
	// current is nil when it has to be computed.
	current map[identity]bool
	// known is by every id that an object has or had; nil when it has to be computed.
	known map[identity][]*resource.Resource
}

// add appends an object; kustomize takes no second one with an id.
func (l *objectList) add(r *resource.Resource) error {
	if l.current == nil {
		if err := l.renamed(); err != nil {
			return err
		}
	}
	id := identityOf(r.CurId())
	if l.current[id] {
		return fmt.Errorf("%s exists twice", r.CurId())
	}
	l.current[id] = true
	l.items = append(l.items, r)
	if l.known != nil {
		l.note(r)
	}
	return nil
}

func (l *objectList) addAll(more []*resource.Resource) error {
	for _, r := range more {
		if err := l.add(r); err != nil {
			return err
		}
	}
	return nil
}

// renamed must be called when ids may have changed. It reports the first one that
// exists twice: kustomize would, now or at the end.
func (l *objectList) renamed() error {
	l.known = nil
	l.current = make(map[identity]bool, len(l.items))
	for _, r := range l.items {
		id := identityOf(r.CurId())
		if l.current[id] {
			return fmt.Errorf("%s exists twice", r.CurId())
		}
		l.current[id] = true
	}
	return nil
}

// dropEmpty drops objects that a patch deleted.
func (l *objectList) dropEmpty() {
	kept := l.items[:0]
	for _, r := range l.items {
		if !r.IsNilOrEmpty() {
			kept = append(kept, r)
		}
	}
	if len(kept) < len(l.items) {
		clear(l.items[len(kept):])
		l.items, l.current, l.known = kept, nil, nil
	}
}

// find returns the objects that have or had an id.
func (l *objectList) find(id resid.ResId) []*resource.Resource {
	if l.known == nil {
		l.known = make(map[identity][]*resource.Resource, len(l.items))
		for _, r := range l.items {
			l.note(r)
		}
	}
	var found []*resource.Resource
	for _, r := range l.known[identityOf(id)] {
		if !r.IsNilOrEmpty() {
			found = append(found, r)
		}
	}
	return found
}

// only returns the one object that has or had an id.
func (l *objectList) only(id resid.ResId) (*resource.Resource, error) {
	found := l.find(id)
	if len(found) != 1 {
		return nil, fmt.Errorf("%d objects are %s", len(found), id)
	}
	return found[0], nil
}

func (l *objectList) note(r *resource.Resource) {
	for _, id := range append(r.PrevIds(), r.CurId()) {
		key := identityOf(id)
		if !slices.Contains(l.known[key], r) {
			l.known[key] = append(l.known[key], r)
		}
	}
}

// absorb adds what a generator made, or merges it into what is there.
func (l *objectList) absorb(made resmap.ResMap) error {
	for _, r := range made.Resources() {
		found := l.find(r.CurId())
		rest := resmap.New()
		for _, old := range found {
			if err := rest.Append(old); err != nil {
				return err
			}
		}
		if err := rest.AbsorbAll(alike(r)); err != nil {
			return fmt.Errorf("merge %s: %w", r.CurId(), err)
		}
		if len(found) == 0 {
			if err := l.add(r); err != nil {
				return err
			}
			continue
		}
		l.items[slices.Index(l.items, found[0])] = rest.Resources()[0]
		if err := l.renamed(); err != nil {
			return err
		}
	}
	return nil
}

// alike returns a ResMap of one object.
func alike(r *resource.Resource) resmap.ResMap {
	m := resmap.New()
	if err := m.Append(r); err != nil { // nothing is there that it could collide with
		panic(err)
	}
	return m
}

// alone runs a transformer of kustomize's on one object.
func alone(r *resource.Resource, transform func(resmap.ResMap) error) error {
	if err := transform(alike(r)); err != nil {
		return fmt.Errorf("transform %s: %w", r.CurId(), err)
	}
	return nil
}
