package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
)

// StageError says what has to end before an attempt can go on: objects of a stage that the next
// one needs ready, such as kinds not served and namespaces not open, or objects that are deleted to
// be made anew and still there. What follows that stage is untouched.
type StageError struct {
	Report health.Report
	// Waited is for how long the stage was waited for.
	Waited time.Duration
}

// Error implements error.
func (e *StageError) Error() string {
	if len(e.Report.Failed) > 0 {
		return fmt.Sprintf("stage failed early due to stalled resources: %s%s", health.List(e.Report.Failed), health.Reasons(e.Report.Failed))
	}
	return fmt.Sprintf("stage not ready after %s: timeout waiting for: %s%s",
		e.Waited.Round(time.Millisecond), health.List(e.Report.InProgress), health.Reasons(e.Report.InProgress))
}

// Ends reports whether waiting longer cannot help.
func (e *StageError) Ends() bool { return len(e.Report.Failed) > 0 }

// gate is an object that was ready, and when it was.
type gate struct {
	uid types.UID
	at  time.Time
}

// errWaits says that an item waits for something; which is in the item.
var errWaits = errors.New("the object has to wait")

// waiting returns a *StageError when items have to wait, after all others of their stage
// were dealt with.
func waiting(items []*item) error {
	var report health.Report
	for _, i := range items {
		if i.waits != nil {
			report.InProgress = append(report.InProgress, *i.waits)
		}
	}
	if report.Healthy() {
		return nil
	}
	return &StageError{Report: report}
}

// leave remembers that an object was deleted to be made anew and is still there; left forgets it.
func (e *Engine) leave(r cluster.Ref) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leaving[r] = true
}

func (e *Engine) left(r cluster.Ref) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.leaving, r)
}

// forget drops what is known of an object that nobody may ask for any more.
func (e *Engine) forget(r cluster.Ref) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.leaving, r)
	delete(e.gates, r)
}

func (e *Engine) leaves(r cluster.Ref) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leaving[r]
}

// open reports whether an object is known to have been ready.
func (e *Engine) open(r cluster.Ref, uid types.UID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ok := e.gates[r]
	return ok && uid != "" && known.uid == uid
}

func (e *Engine) opened(items []*item) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, i := range items {
		e.gates[i.ref] = gate{uid: i.uid(), at: time.Now()}
	}
	e.tidy()
}

// fewGates are how many gates are not worth looking through.
const fewGates = 256

// tidy forgets gates that are gone or others by now, which another process may have pruned. It looks when there are
// twice as many as it left last. One that was opened a moment ago is still asked for; the lock is held.
func (e *Engine) tidy() {
	if len(e.gates) < 2*max(e.tidied, fewGates) {
		return
	}
	maps.DeleteFunc(e.gates, func(r cluster.Ref, g gate) bool {
		seen, ok := e.records.Seen(r)
		return (!ok || seen.UID != g.uid) && time.Since(g.at) > e.opts.ServeTimeout
	})
	e.tidied = len(e.gates)
}

// gating returns the items of a stage whose readiness the next stage needs and that
// are not known to be ready: those that were written, and those that stand from an
// earlier attempt which did not get further.
func (c *call) gating(items []*item) []*item {
	var out []*item
	for _, i := range items {
		switch {
		case i.ref.GroupKind() == clusterRole, i.outcome.Action == Skipped:
		case i.outcome.Action == Unchanged && c.open(i.ref, i.uid()):
		default:
			out = append(out, i)
		}
	}
	return out
}

// uid is that of the live object, as far as it is known.
func (i *item) uid() types.UID {
	if i.outcome.UID != "" {
		return i.outcome.UID
	}
	return i.before.UID
}

// define remembers the kinds whose definitions became ready a moment ago: the API server may
// not serve them yet.
func (c *call) define(items []*item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range items {
		opened := c.gates[i.ref].at
		if i.ref.GroupKind() != customResourceDefinition || time.Since(opened) > c.opts.ServeTimeout {
			continue
		}
		group, _, _ := unstructured.NestedString(i.desired.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(i.desired.Object, "spec", "names", "kind")
		c.defined[schema.GroupKind{Group: group, Kind: kind}] = opened
	}
}

// await waits for a moment until items are ready. What takes longer, or failed, is a
// *StageError: waiting on is not this call's business.
func (c *call) await(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	refs := make([]cluster.Ref, 0, len(items))
	for _, i := range items {
		refs = append(refs, i.ref)
	}
	var last health.Report
	started := time.Now()
	err := poll(ctx, c.opts.StageWait, func() (bool, error) {
		report, err := health.Check(ctx, c.req.Client, refs, nil)
		last = report
		return err == nil && (report.Healthy() || len(report.Failed) > 0), err
	})
	if len(last.Failed) > 0 || errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &StageError{Report: last, Waited: time.Since(started)}
	}
	if err != nil {
		return err
	}
	c.opened(items)
	return nil
}

// Gates looks once at what an attempt waits for: the objects that a later stage needs ready, as
// far as they are not known to be, and those that are deleted to be made anew.
func (e *Engine) Gates(ctx context.Context, client *cluster.Client, objects []*unstructured.Unstructured) (health.Report, error) {
	var gates, leaving []cluster.Ref
	for _, o := range objects {
		ref := cluster.RefOf(o)
		if e.leaves(ref) {
			leaving = append(leaving, ref)
			continue
		}
		out := livestate.OptOuts(o.GetAnnotations(), o.GetLabels()).Any(livestate.NoReconcile | livestate.Ignore)
		if e.stageOf(ref.GroupKind()) == stages-1 || ref.GroupKind() == clusterRole || out {
			continue
		}
		if seen, ok := e.records.Seen(ref); !ok || !e.open(ref, seen.UID) {
			gates = append(gates, ref)
		}
	}
	report, err := health.Check(ctx, client, gates, nil)
	if err != nil {
		return health.Report{}, err
	}
	there, err := health.Check(ctx, client, leaving, nil)
	if err != nil {
		return health.Report{}, err
	}
	for _, s := range there.InProgress {
		if s.Leaves() {
			report.InProgress = append(report.InProgress, s)
			leaving = slices.DeleteFunc(leaving, func(r cluster.Ref) bool { return r == s.Object })
		}
	}
	for _, r := range leaving {
		e.left(r)
		e.records.Look(ctx, r) // the watch may still have what is gone
	}
	return report, nil
}
