package engine

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Difference is an object that an apply would change.
type Difference struct {
	Object cluster.Ref
	// Missing is true when there is no such object.
	Missing bool
	// Fields are what would change, a hundred at most; none when the object would have to be made anew.
	Fields []Field
}

// Field is a field that an apply would change.
type Field struct {
	// Path is a JSON pointer.
	Path string
	// Live and Wanted are the values as JSON, cut when they are long and masked in a
	// Secret; "" is a field that is not there.
	Live, Wanted string
	// Manager is who else wrote the live value last; "" when nobody manages it.
	Manager string
}

const (
	// maxShown is how many fields of an object are shown.
	maxShown = 100
	// maxValue is how many bytes of a value are.
	maxValue = 128
)

// compare finds out what an apply would change about an item, and writes nothing.
func (c *call) compare(ctx context.Context, i *item) error {
	if err := c.find(ctx, i); err != nil {
		return dryRunError(i, err)
	}
	live := i.found
	if live == nil {
		i.difference = &Difference{Object: i.ref, Missing: true}
		return nil
	}
	i.before, i.exists = c.records.Reduce(cluster.MetadataOf(live)), true
	if err := c.dryRun(ctx, i); err != nil {
		if apierrors.IsNotFound(err) { // it went this moment
			i.difference = &Difference{Object: i.ref, Missing: true}
			return nil
		}
		return err
	}
	if i.done {
		return nil
	}
	if i.recreate {
		i.difference = &Difference{Object: i.ref}
		return nil
	}
	fields := differences(live, i.answer)
	if i.takeover {
		fields = append(fields, c.surplus(i, live)...)
	}
	i.answer = nil
	if len(fields) == 0 {
		// Only who manages what differs, and that is nobody's concern.
		c.records.Begin(i.ref)
		c.records.Applied(i.ref, c.req.Owner, i.digest, cluster.MetadataOf(live))
		i.settle(Unchanged)
		return nil
	}
	i.difference = &Difference{Object: i.ref, Fields: show(live, fields)}
	return nil
}

// surplus returns the fields that a takeover would remove: what kubectl and its like
// added, which nobody else manages.
func (c *call) surplus(i *item, live *unstructured.Unstructured) []difference {
	theirs, others := fieldpath.NewSet(), fieldpath.NewSet()
	for _, e := range i.answer.GetManagedFields() {
		set, err := livestate.FieldSet(e)
		if err != nil {
			continue // the API server wrote it; an apply would name the fault
		}
		if livestate.Absorbs(e, c.req.Client.Cluster().OverrideManagers()) {
			_, set = livestate.SplitRestart(set)
			theirs = theirs.Union(set)
		} else {
			others = others.Union(set)
		}
	}
	var out []difference
	theirs.Difference(others).Leaves().Iterate(func(path fieldpath.Path) {
		at, ok := ignore.PointerOf(path, live.Object)
		if !ok || slices.ContainsFunc(i.ignored, at.Within) {
			return
		}
		if value, ok := at.Find(live.Object); ok {
			out = append(out, difference{at: at, live: value})
		}
	})
	return out
}

// show writes differences for people.
func show(live *unstructured.Unstructured, found []difference) []Field {
	text := func(v any) string {
		if v == nil {
			return ""
		}
		if isSecret(live) {
			return masked
		}
		body, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		if len(body) > maxValue {
			return strings.ToValidUTF8(string(body[:maxValue]), "") + "…"
		}
		return string(body)
	}
	found = found[:min(len(found), maxShown)]
	managers := managersOf(live)
	fields := make([]Field, 0, len(found))
	for _, d := range found {
		fields = append(fields, Field{Path: d.at.String(), Live: text(d.live), Wanted: text(d.want), Manager: managers.of(d.at, live)})
	}
	return fields
}
