package release

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
)

// Difference is an object that is not as its release has it.
type Difference struct {
	Object cluster.Ref
	// Missing is true when there is no such object. Otherwise these are the numbers of fields
	// that putting it back would add, change and remove.
	Missing                      bool
	Additions, Changes, Removals int

	wanted *unstructured.Unstructured
	digest string
}

// String says how the object differs, as Flux does.
func (d Difference) String() string {
	if d.Missing {
		return d.Object.String() + " removed"
	}
	return fmt.Sprintf("%s changed (%d additions, %d changes, %d removals)", d.Object, d.Additions, d.Changes, d.Removals)
}

// Drift compares the objects of a revision with the cluster. One that the live table knows to be as it was
// applied costs nothing, any other, and with all every one, a read and a dry run. What the rules name is
// left out, and objects that opt out. It says how many objects it asked about.
func (r *Runner) Drift(ctx context.Context, record *helmstore.Record, all bool) (found []Difference, asked int, err error) {
	objects, err := r.Objects(record)
	if err != nil {
		return nil, 0, err
	}
	r.Live.manage(objects)
	var suspects []*suspect
	for _, o := range objects {
		s, err := r.suspect(o, record, all)
		if err != nil {
			return nil, 0, err
		}
		if s != nil {
			suspects = append(suspects, s)
		}
	}
	err = each(ctx, parallel, suspects, r.differs)
	for _, s := range suspects {
		if s.difference != nil {
			found = append(found, *s.difference)
		}
	}
	return found, len(suspects), err
}

// suspect is an object that may not be as its release has it.
type suspect struct {
	object     *unstructured.Unstructured
	left       []ignore.Pointer
	digest     string
	difference *Difference
}

// suspect returns nil for an object that need not be compared.
func (r *Runner) suspect(o *unstructured.Unstructured, record *helmstore.Record, all bool) (*suspect, error) {
	s := &suspect{object: o, left: r.rules().Of(o)}
	if exempt(o) || slices.ContainsFunc(s.left, func(p ignore.Pointer) bool { return len(p) == 0 }) {
		return nil, nil
	}
	own(o, record.Name, record.Namespace)
	var err error
	if s.digest, err = r.Live.digest(o); err != nil {
		return nil, err
	}
	if standing := r.Live.standing(o, s.digest); !all && (standing == livestate.Clean || standing == livestate.OptedOut) {
		return nil, nil
	}
	return s, nil
}

func (r *Runner) rules() ignore.Rules {
	if r.Live == nil {
		return nil
	}
	return r.Live.Rules
}

// differs compares one object with the cluster.
func (r *Runner) differs(ctx context.Context, s *suspect) error {
	ref := cluster.RefOf(s.object)
	live, err := r.Client.Get(ctx, ref)
	if cluster.IsGone(err) {
		s.difference = &Difference{Object: ref, Missing: true, wanted: s.object, digest: s.digest}
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	if exempt(live) {
		r.Live.left(live, s.digest)
		return nil
	}
	wanted, err := ignore.Leave(s.object, live, s.left, Manager)
	if err != nil {
		return err
	}
	answer, _, err := r.Client.ApplyAs(ctx, Manager, wanted, true)
	if err != nil {
		return engine.Refusal(wanted, err)
	}
	d := &Difference{Object: ref, wanted: wanted, digest: s.digest}
	d.count(plain(live), plain(answer))
	if d.Additions+d.Changes+d.Removals == 0 {
		r.Live.seen(live, s.digest)
		return nil
	}
	s.difference = d
	return nil
}

func exempt(o *unstructured.Unstructured) bool {
	return livestate.Exempt(o.GetAnnotations(), o.GetLabels())
}

// plain is an object without what every write moves.
func plain(o *unstructured.Unstructured) map[string]any {
	out := o.DeepCopy()
	unstructured.RemoveNestedField(out.Object, "status")
	for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(out.Object, "metadata", field)
	}
	return out.Object
}

// count counts the fields that lead from one value to another.
func (d *Difference) count(from, to any) {
	before, ok1 := from.(map[string]any)
	after, ok2 := to.(map[string]any)
	if !ok1 || !ok2 {
		if !reflect.DeepEqual(from, to) {
			d.Changes++
		}
		return
	}
	for key, value := range after {
		if old, ok := before[key]; ok {
			d.count(old, value)
			continue
		}
		d.Additions++
	}
	for key := range before {
		if _, ok := after[key]; !ok {
			d.Removals++
		}
	}
}

// Correct puts objects back to how their release has them.
func (r *Runner) Correct(ctx context.Context, differences []Difference) error {
	var objects []*unstructured.Unstructured
	digests := make(map[*unstructured.Unstructured]string, len(differences))
	for _, d := range differences {
		objects = append(objects, d.wanted)
		digests[d.wanted] = d.digest
	}
	a := &acting{Runner: r}
	for _, group := range groups(objects) {
		if err := a.each(ctx, group, func(ctx context.Context, o *unstructured.Unstructured) error {
			_, err := r.Live.put(ctx, r.Client, o, digests[o])
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
