package release

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
)

// driftKey is the label or annotation that keeps an object out of drift detection.
const (
	driftKey      = "helm.toolkit.fluxcd.io/driftDetection"
	driftDisabled = "disabled"
)

// Difference is an object that is not as its release has it.
type Difference struct {
	Object cluster.Ref
	// Missing is true when there is no such object. Otherwise these are the numbers of fields
	// that putting it back would add, change and remove.
	Missing                      bool
	Additions, Changes, Removals int

	wanted *unstructured.Unstructured
}

// String says how the object differs, as Flux does.
func (d Difference) String() string {
	if d.Missing {
		return d.Object.String() + " removed"
	}
	return fmt.Sprintf("%s changed (%d additions, %d changes, %d removals)", d.Object, d.Additions, d.Changes, d.Removals)
}

// Drift compares the objects of a revision with the cluster, with a read and a dry run each.
// What the rules name is left out, and objects that opt out.
func (r *Runner) Drift(ctx context.Context, record *helmstore.Record, rules ignore.Rules) ([]Difference, error) {
	objects, err := r.Objects(record)
	if err != nil {
		return nil, err
	}
	found := make([]*Difference, len(objects))
	at := make(map[*unstructured.Unstructured]int, len(objects))
	for i, o := range objects {
		at[o] = i
	}
	a := &acting{Runner: r, record: record}
	for _, group := range groups(objects) {
		if err := a.each(ctx, group, func(ctx context.Context, o *unstructured.Unstructured) (err error) {
			found[at[o]], err = r.differs(ctx, record, o, rules.Of(o))
			return err
		}); err != nil {
			return nil, err
		}
	}
	var out []Difference
	for _, d := range found {
		if d != nil {
			out = append(out, *d)
		}
	}
	return out, nil
}

// differs compares one object; nil says that it is as it should be.
func (r *Runner) differs(ctx context.Context, record *helmstore.Record, o *unstructured.Unstructured, left []ignore.Pointer) (*Difference, error) {
	ref := cluster.RefOf(o)
	if exempt(o) || slices.ContainsFunc(left, func(p ignore.Pointer) bool { return len(p) == 0 }) {
		return nil, nil
	}
	own(o, record.Name, record.Namespace)
	live, err := r.Client.Get(ctx, ref)
	if cluster.IsGone(err) {
		return &Difference{Object: ref, Missing: true, wanted: o}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	if exempt(live) {
		return nil, nil
	}
	wanted, err := ignore.Leave(o, live, left, Manager)
	if err != nil {
		return nil, err
	}
	answer, _, err := r.Client.ApplyAs(ctx, Manager, wanted, true)
	if err != nil {
		return nil, engine.Refusal(wanted, err)
	}
	d := &Difference{Object: ref, wanted: wanted}
	d.count(plain(live), plain(answer))
	if d.Additions+d.Changes+d.Removals == 0 {
		return nil, nil
	}
	return d, nil
}

func exempt(o *unstructured.Unstructured) bool {
	return strings.EqualFold(o.GetLabels()[driftKey], driftDisabled) || strings.EqualFold(o.GetAnnotations()[driftKey], driftDisabled)
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
	for _, d := range differences {
		objects = append(objects, d.wanted)
	}
	a := &acting{Runner: r}
	for _, group := range groups(objects) {
		if err := a.each(ctx, group, func(ctx context.Context, o *unstructured.Unstructured) error {
			return r.put(ctx, o)
		}); err != nil {
			return err
		}
	}
	return nil
}
