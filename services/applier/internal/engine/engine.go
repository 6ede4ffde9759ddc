package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// batch is how many objects are written between two calls of the guard.
const batch = 128

// Engine applies to one cluster. Its methods may be called concurrently.
type Engine struct {
	records Records
	opts    Options
	lane    chan struct{}

	mu sync.Mutex
	// gates are the objects of all stages but the last that were ready once. One is
	// looked at again only when it is written or has become another object.
	gates map[cluster.Ref]gate
	// tidied is how many were left when those that are gone were forgotten.
	tidied int
	// leaving are the objects that were deleted to be made anew and were still there.
	leaving map[cluster.Ref]bool
}

// New returns an engine that keeps records of what it does.
func New(records Records, opts Options) *Engine {
	if opts.Parallel <= 0 {
		opts.Parallel = 16
	}
	if opts.ServiceLane <= 0 {
		opts.ServiceLane = 3
	}
	if opts.StageWait <= 0 {
		opts.StageWait = 2 * time.Second
	}
	if opts.ServeTimeout <= 0 {
		opts.ServeTimeout = time.Minute
	}
	return &Engine{
		records: records, opts: opts, lane: make(chan struct{}, opts.ServiceLane),
		gates: map[cluster.Ref]gate{}, leaving: map[cluster.Ref]bool{},
	}
}

// call is one Apply under way.
type call struct {
	*Engine
	req             Request
	writes, dryRuns atomic.Int64
	// defined says of the kinds that the request defines when their definitions became ready,
	// if that was a moment ago.
	defined map[schema.GroupKind]time.Time
}

// Apply makes the cluster equal to the request's objects and returns what it did,
// also when it fails. An object that cannot be applied is an *ObjectError; several
// are ObjectErrors. Objects of a stage are untouched when the dry run of one of them fails.
func (e *Engine) Apply(ctx context.Context, req Request) (Result, error) {
	items, err := prepare(req.Objects, req.Owner, req.Ignore)
	if err != nil {
		return Result{}, err
	}
	c := &call{Engine: e, req: req, defined: map[schema.GroupKind]time.Time{}}
	if c.req.Guard == nil {
		c.req.Guard = func(context.Context) error { return nil }
	}
	if !req.Part && !req.Compare {
		e.records.Intend(req.Owner, refsOf(items))
	}
	for n, stage := range e.split(items) {
		if err = c.stage(ctx, stage, n < stages-1); err != nil {
			break
		}
	}
	return c.result(items), err
}

func (c *call) result(items []*item) Result {
	r := Result{Writes: int(c.writes.Load()), DryRuns: int(c.dryRuns.Load())}
	for _, i := range items {
		if i.difference != nil {
			r.Differences = append(r.Differences, *i.difference)
		}
		if i.done {
			r.Outcomes = append(r.Outcomes, i.outcome)
		}
		live := i.exists && i.before.OptOut.Any(livestate.NoReconcile|livestate.Ignore)
		if !live && !i.optOut.Any(livestate.NoReconcile|livestate.Ignore) {
			r.Await = append(r.Await, i.ref)
		}
	}
	r.Inventory = inventory.OfRefs(refsOf(items))
	return r
}

func refsOf(items []*item) []cluster.Ref {
	refs := make([]cluster.Ref, 0, len(items))
	for _, i := range items {
		refs = append(refs, i.ref)
	}
	return refs
}

// stage brings the objects of one stage up to date: what is known to be unchanged
// is left out, the rest is dry-run, then what differs is written. Between the two come
// what needs no dry run: inert objects that are new, then one other.
func (c *call) stage(ctx context.Context, items []*item, wait bool) error {
	if len(items) == 0 {
		return nil
	}
	c.manage(items)
	var todo []*item
	for _, i := range items {
		if c.look(i); !i.done {
			todo = append(todo, i)
		}
	}
	if c.req.Compare {
		return c.each(ctx, todo, c.compare)
	}
	if err := c.tried(ctx, todo); err != nil {
		return err
	}
	c.manageFresh(todo)
	var writes []*item
	for _, i := range todo {
		if !i.done {
			writes = append(writes, i)
		}
	}
	for len(writes) > 0 {
		n := min(batch, len(writes))
		if err := c.req.Guard(ctx); err != nil {
			return err
		}
		if err := c.each(ctx, writes[:n], c.write); err != nil {
			return err
		}
		writes = writes[n:]
	}
	if err := waiting(todo); err != nil || !wait {
		return err
	}
	if err := c.await(ctx, c.gating(items)); err != nil {
		return err
	}
	c.define(items)
	return nil
}

// manage starts the watches of a stage's kinds.
func (c *call) manage(items []*item) {
	seen := map[schema.GroupKind]bool{}
	for _, i := range items {
		i.ready, i.fresh = c.defined[i.ref.GroupKind()]
		if seen[i.ref.GroupKind()] {
			continue
		}
		seen[i.ref.GroupKind()] = true
		if !i.fresh {
			c.records.Manage(i.ref.GVK())
		}
	}
}

// manageFresh starts the watches of kinds that answered a dry run, and so are served now.
func (c *call) manageFresh(items []*item) {
	for _, i := range items {
		if i.fresh {
			c.records.Manage(i.ref.GVK())
		}
	}
}

// look settles what the live table knows without a request.
func (c *call) look(i *item) {
	i.before, i.exists = c.records.Seen(i.ref)
	standing := c.records.Standing(i.ref, c.req.Owner, i.digest)
	if c.req.Again && standing != livestate.Dirty && standing != livestate.Doubtful {
		i.settle(Skipped) // it is not known to have been applied and changed
		return
	}
	if i.optOut.Any(livestate.NoReconcile | livestate.Ignore) {
		i.settle(Skipped)
		return
	}
	if i.exists && (i.optOut.Has(livestate.IfNotPresent) || i.leftWhole()) {
		c.leaveBe(i, livestate.WhilePresent)
		return
	}
	switch standing {
	case livestate.OptedOut:
		c.leaveBe(i, livestate.WhileOptedOut)
	case livestate.Lost:
		i.settle(Skipped) // it was taken over
	case livestate.Clean:
		if !c.req.Verify {
			i.settle(Unchanged)
		}
	case livestate.Unknown, livestate.Dirty, livestate.Outdated, livestate.Doubtful: // a dry run or a write decides
	}
}

// sure reports whether an object is known well enough to write it without a dry run.
func (c *call) sure(i *item) bool {
	standing := c.records.Standing(i.ref, c.req.Owner, i.digest)
	return len(i.ignored) == 0 && (standing == livestate.Dirty || standing == livestate.Outdated)
}

// each works on items in parallel and joins their errors. Services that need an
// address start first, in a lane of their own, so that nothing waits behind them. It ends at the first request that gets no
// answer in time.
func (c *call) each(ctx context.Context, items []*item, work func(context.Context, *item) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	errs := make([]error, len(items))
	var services, others errgroup.Group
	services.SetLimit(c.opts.ServiceLane)
	others.SetLimit(c.opts.Parallel)
	run := func(g *errgroup.Group, n int) {
		g.Go(func() error {
			if err := context.Cause(ctx); err != nil {
				errs[n] = objectError(items[n], "%s not tried: %s", err)
				return nil
			}
			errs[n] = work(ctx, items[n])
			if cluster.TimedOut(errs[n]) {
				end(cluster.ErrSilent)
				return errs[n]
			}
			return nil
		})
	}
	var starters errgroup.Group
	starters.Go(func() error {
		for n, i := range items {
			if needsAddress(i.desired) {
				run(&services, n)
			}
		}
		return services.Wait()
	})
	for n, i := range items {
		if !needsAddress(i.desired) {
			run(&others, n)
		}
	}
	return joinTried(errs, errors.Join(others.Wait(), starters.Wait()))
}
