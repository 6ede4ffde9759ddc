package engine

import (
	"context"
	"slices"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// tried asks the API server in dry runs whether it will take the items, and writes those that
// need none. When one is refused nothing of the stage is left, and when one has to wait nothing is written.
func (c *call) tried(ctx context.Context, todo []*item) error {
	inert, first, others := c.sorted(todo)
	if err := c.each(ctx, others, c.dryRun); err != nil {
		if len(first) > 0 && !cluster.TimedOut(err) {
			err = inOrder(todo, err, c.each(ctx, first, c.dryRun)) // all that is refused is told at once
		}
		return err
	}
	if err := waiting(others); err != nil {
		return err
	}
	made, err := c.makeAll(ctx, inert)
	if err == nil && len(first) > 0 {
		err = c.goAhead(ctx, todo, first)
	}
	if err != nil {
		return c.takeBack(ctx, made, err)
	}
	return nil
}

// sorted returns the items that may be made without a dry run, the one other that needs none when
// it is written before the rest, if there is one, and the rest.
func (c *call) sorted(todo []*item) (inert, first, others []*item) {
	for _, i := range todo {
		switch {
		case c.inert(i):
			inert = append(inert, i)
		case len(first) == 0 && (c.anew(i) || !c.req.Careful && !i.fresh && c.sure(i)):
			first = append(first, i)
		default:
			others = append(others, i)
		}
	}
	return inert, first, others
}

// goAhead writes the first item before the others, which the API server will take. Where one that is dealt with earlier is
// still to be written, such as what it reads or what shall limit it, it is dry-run and keeps its place.
func (c *call) goAhead(ctx context.Context, todo, first []*item) error {
	for _, i := range todo[:slices.Index(todo, first[0])] {
		if !i.done {
			return c.each(ctx, first, c.dryRun)
		}
	}
	if err := c.req.Guard(ctx); err != nil {
		return err
	}
	return c.each(ctx, first, c.lead)
}

// lead writes an item when the API server has said that it takes all others of the stage. Its own refusal
// comes before any of them is written, as that of a dry run would (ADR 14). What takes more than one
// request, such as to make it anew, is done with the others.
func (c *call) lead(ctx context.Context, i *item) error {
	if !i.exists || c.sure(i) {
		if err := c.once(ctx, i); err != nil || i.done || i.takeover {
			return err
		}
	}
	return c.dryRun(ctx, i)
}
