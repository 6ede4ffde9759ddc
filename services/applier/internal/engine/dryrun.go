package engine

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// recent is how young our entry must be for its time, which has whole seconds, not
// to prove that a dry run changed nothing.
const recent = 3 * time.Second

// dryRun asks the API server what an apply would do, and settles the item when
// that is nothing.
func (c *call) dryRun(ctx context.Context, i *item) error {
	answer, created, err := c.apply(ctx, i, true)
	if errors.Is(err, errWaits) {
		return nil
	}
	if err != nil {
		if c.recreates(ctx, i, err) {
			i.recreate = true
			return nil
		}
		c.lookAgain(ctx, i, err)
		return dryRunError(i, err)
	}
	if created {
		i.exists, i.before = false, livestate.Slim{}
		return nil
	}
	if c.req.Compare {
		i.answer = answer
	}
	meta := cluster.MetadataOf(answer)
	after := c.records.Reduce(meta)
	if !i.exists {
		if err := c.lookUp(ctx, i); err != nil {
			return dryRunError(i, err)
		}
	}
	switch {
	case after.OptOut.Any(livestate.NoReconcile | livestate.Ignore):
		i.before.OptOut = after.OptOut
		c.leaveBe(i, livestate.WhileOptedOut)
	case i.optOut.Has(livestate.IfNotPresent), i.leftWhole():
		c.leaveBe(i, livestate.WhilePresent)
	case after.Absorb && !i.optOut.Has(livestate.Merge):
		i.takeover = true
	case len(i.ignored) > 0 && i.found != nil:
		if len(differences(i.found, answer)) == 0 {
			// Others own fields that are left to them, which is no difference.
			c.records.Begin(i.ref)
			c.records.Applied(i.ref, c.req.Owner, i.digest, cluster.MetadataOf(i.found))
			i.settle(Unchanged)
		}
	case same(i.before, after):
		c.records.Begin(i.ref)
		c.records.Applied(i.ref, c.req.Owner, i.digest, meta)
		i.settle(Unchanged)
	}
	return nil
}

// lookUp reads the metadata of an object that exists but is not in the live table.
func (c *call) lookUp(ctx context.Context, i *item) error {
	meta, err := c.req.Client.GetMetadata(ctx, i.ref)
	if err != nil {
		return err
	}
	i.before, i.exists = c.records.Reduce(meta), true
	return nil
}

// same reports whether a dry run would leave the object as it is. A server-side
// apply that changes something moves the time of our entry, so equal entries mean
// no change, unless the entry was written this very second.
func same(before, after livestate.Slim) bool {
	old := time.Since(time.Unix(after.OwnTime, 0)).Abs() > recent
	return before.Own != 0 && before.UID == after.UID && before.ResourceVersion == after.ResourceVersion &&
		before.Own == after.Own && before.OwnTime == after.OwnTime && before.Rest == after.Rest && old
}

// apply sends an item. A kind whose definition is a moment old is asked for again
// while the API server does not serve it yet; when that takes long, the item waits.
func (c *call) apply(ctx context.Context, i *item, dryRun bool) (*unstructured.Unstructured, bool, error) {
	var (
		answer  *unstructured.Unstructured
		created bool
	)
	send := func() (err error) {
		if err := c.placed(i); err != nil {
			return err
		}
		if dryRun {
			c.dryRuns.Add(1)
		}
		answer, created, err = c.sendBody(ctx, i, dryRun)
		return err
	}
	err := send()
	if i.fresh && notServed(err) {
		err = poll(ctx, c.opts.StageWait-time.Since(i.ready), func() (bool, error) {
			err := send()
			return !notServed(err), err
		})
		if notServed(err) && ctx.Err() == nil {
			unserved := health.Unserved(i.ref)
			i.waits, err = &unserved, errWaits
		}
	}
	return answer, created, err
}

// placed checks that the object of a namespaced kind names a namespace.
func (c *call) placed(i *item) error {
	namespaced, err := c.req.Client.Cluster().Namespaced(i.ref.GVK())
	if err != nil {
		return err
	}
	if namespaced && i.ref.Namespace == "" {
		return errNoNamespace
	}
	return nil
}

// poll repeats look until it is done, with growing pauses. On timeout it returns
// look's last error, or the context's when there was none.
func poll(ctx context.Context, timeout time.Duration, look func() (done bool, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pause := 20 * time.Millisecond
	for {
		done, err := look()
		if done {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if err != nil {
				return err
			}
			return context.Cause(ctx)
		}
		pause = min(pause*3/2, 500*time.Millisecond)
	}
}

var _ Records = (*livestate.Table)(nil)
