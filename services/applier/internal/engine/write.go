package engine

import (
	"context"
	"errors"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// write applies an item and records the answer.
func (c *call) write(ctx context.Context, i *item) error {
	c.records.Begin(i.ref)
	answer, created, err := c.put(ctx, i)
	if err != nil {
		c.records.Abort(i.ref)
		if errors.Is(err, errWaits) {
			return nil
		}
		c.lookAgain(ctx, i, err)
		var known *ObjectError
		if errors.As(err, &known) {
			return err
		}
		return applyError(i, err)
	}
	c.written(i, answer, created)
	return nil
}

// written records the answer to a write and settles the item.
func (c *call) written(i *item, answer *unstructured.Unstructured, created bool) {
	meta := cluster.MetadataOf(answer)
	c.records.Applied(i.ref, c.req.Owner, i.digest, meta)
	action := Configured
	switch {
	case created:
		action = Created
	case meta.ResourceVersion == i.before.ResourceVersion && !i.takeover:
		action = Unchanged
	}
	i.before, i.exists = c.records.Reduce(meta), true
	i.settle(action)
	c.left(i.ref)
}

// absorbs reports whether an answer shows fields of others that are to be taken over.
func (c *call) absorbs(i *item, answer *unstructured.Unstructured) bool {
	return !i.optOut.Has(livestate.Merge) && c.records.Reduce(cluster.MetadataOf(answer)).Absorb
}

// lookAgain finds out what there is now when an object is refused because it is not the one
// that was seen: another attempt would be refused alike.
func (c *call) lookAgain(ctx context.Context, i *item, err error) {
	if errors.Is(classify(i, err), ErrConflict) {
		c.records.Look(ctx, i.ref)
	}
}

// put takes the object over or makes it anew where that is needed, and applies it.
func (c *call) put(ctx context.Context, i *item) (*unstructured.Unstructured, bool, error) {
	if i.recreate {
		return c.recreated(ctx, i)
	}
	if i.takeover {
		if err := c.takeOver(ctx, i); err != nil {
			return nil, false, err
		}
	}
	answer, created, err := c.send(ctx, i)
	if err != nil {
		if c.recreates(ctx, i, err) {
			return c.recreated(ctx, i)
		}
		return nil, false, err
	}
	if i.takeover || !c.absorbs(i, answer) {
		return answer, created, nil
	}
	i.takeover = true
	if err := c.takeOver(ctx, i); err != nil {
		return nil, false, err
	}
	answer, _, err = c.send(ctx, i)
	return answer, created, err
}

// send applies for good. Creating a Service with an address takes a place in the
// cluster's narrow lane.
func (c *call) send(ctx context.Context, i *item) (*unstructured.Unstructured, bool, error) {
	if !i.exists && needsAddress(i.desired) {
		select {
		case c.lane <- struct{}{}:
			defer func() { <-c.lane }()
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	c.writes.Add(1)
	answer, created, err := c.apply(ctx, i, false)
	if refused(err) {
		c.writes.Add(-1)
	}
	return answer, created, err
}
