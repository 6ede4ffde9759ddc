package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"golang.org/x/sync/errgroup"
)

// Prune deletes stale objects in reverse kind order, those of one kind in parallel.
// An object of another owner, one that opts out and one that is already gone are
// settled without a deletion. Failures are joined; their entries are in Failed.
func (e *Engine) Prune(ctx context.Context, req PruneRequest) (PruneResult, error) {
	var result PruneResult
	refs, err := inventory.ParseAll(req.Stale)
	if err != nil {
		return PruneResult{Failed: req.Stale}, err
	}
	slices.SortStableFunc(refs, func(a, b cluster.Ref) int { return rank(b.Kind) - rank(a.Kind) })
	var errs []error
	for len(refs) > 0 {
		n := slices.IndexFunc(refs, func(r cluster.Ref) bool { return rank(r.Kind) != rank(refs[0].Kind) })
		if n < 0 {
			n = len(refs)
		}
		n = min(n, batch)
		if req.Guard != nil {
			if err := req.Guard(ctx); err != nil {
				result.Failed = append(result.Failed, inventory.OfRefs(refs)...)
				return result, errors.Join(append(errs, err)...)
			}
		}
		errs = append(errs, e.prune(ctx, req, refs[:n], &result))
		refs = refs[n:]
	}
	return result, errors.Join(errs...)
}

func (e *Engine) prune(ctx context.Context, req PruneRequest, refs []cluster.Ref, result *PruneResult) error {
	var (
		mu    sync.Mutex
		errs  []error
		group errgroup.Group
	)
	group.SetLimit(e.opts.Parallel)
	for _, r := range refs {
		group.Go(func() error {
			outcome, err := e.remove(ctx, req, r)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, &ObjectError{Object: r, Err: err, text: fmt.Sprintf("%s delete failed: %s", r, err)})
				result.Failed = append(result.Failed, inventory.EntryOf(r))
				return nil
			}
			result.Outcomes = append(result.Outcomes, outcome)
			return nil
		})
	}
	return errors.Join(append(errs, group.Wait())...)
}

// remove deletes one object if it may.
func (e *Engine) remove(ctx context.Context, req PruneRequest, r cluster.Ref) (Outcome, error) {
	skipped := func(note string) (Outcome, error) {
		e.records.Forget(r)
		return Outcome{Object: r, Action: Skipped, Note: note}, nil
	}
	meta, err := req.Client.GetMetadata(ctx, r)
	if cluster.IsGone(err) {
		return skipped("it is gone")
	}
	if err != nil {
		return Outcome{}, err
	}
	if owner := cluster.OwnerOf(meta.Labels); owner != req.Owner {
		// Its records may be the new owner's, so they stay.
		e.records.Withdraw(r, req.Owner)
		return Outcome{Object: r, Action: Skipped, Note: "its labels name another owner"}, nil
	}
	if livestate.OptOuts(meta.Annotations, meta.Labels).Any(livestate.NoPrune | livestate.NoReconcile | livestate.Ignore) {
		return skipped("it opts out")
	}
	e.records.Forget(r)
	err = req.Client.Delete(ctx, r, meta.UID)
	if cluster.IsGone(err) {
		return skipped("it is gone")
	}
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{Object: r, Action: Deleted, UID: meta.UID, ResourceVersion: meta.ResourceVersion}, nil
}

// Remaining returns which objects of an inventory still exist. It looks once.
func (e *Engine) Remaining(ctx context.Context, client *cluster.Client, entries []inventory.Entry) ([]cluster.Ref, error) {
	refs, err := inventory.ParseAll(entries)
	if err != nil {
		return nil, err
	}
	present := make([]bool, len(refs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(e.opts.Parallel)
	for n, r := range refs {
		group.Go(func() error {
			_, err := client.GetMetadata(ctx, r)
			if err != nil && !cluster.IsGone(err) {
				return fmt.Errorf("read %s: %w", r, err)
			}
			present[n] = err == nil
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var left []cluster.Ref
	for n, r := range refs {
		if present[n] {
			left = append(left, r)
		}
	}
	return left, nil
}
