package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Prune deletes stale objects, those that others need last, those of one kind in
// parallel. An object of another owner, one that opts out, one that terminates and
// one that is gone are settled without a deletion. Failures are joined; their
// entries are in Failed. After a failure the rights that the deletions are made with
// stay, as another try needs them.
func (e *Engine) Prune(ctx context.Context, req PruneRequest) (PruneResult, error) {
	var result PruneResult
	refs, err := inventory.ParseAll(req.Stale)
	if err != nil {
		return PruneResult{Failed: req.Stale}, err
	}
	rank := req.rank
	slices.SortStableFunc(refs, func(a, b cluster.Ref) int { return rank(a) - rank(b) })
	var errs []error
	for len(refs) > 0 {
		n := slices.IndexFunc(refs, func(r cluster.Ref) bool { return rank(r) != rank(refs[0]) })
		if n < 0 {
			n = len(refs)
		}
		if last := req.Own != nil && isRight(refs[0].Kind); !last {
			n = min(n, batch)
		} else if len(errs) > 0 {
			result.Failed = append(result.Failed, inventory.OfRefs(refs)...)
			break
		}
		if req.Guard != nil {
			if err := req.Guard(ctx); err != nil {
				result.Failed = append(result.Failed, inventory.OfRefs(refs)...)
				return result, join(append(errs, err))
			}
		}
		err := e.prune(ctx, req, refs[:n], &result)
		if err != nil {
			errs = append(errs, err)
		}
		if refs = refs[n:]; cluster.TimedOut(err) {
			result.Failed = append(result.Failed, inventory.OfRefs(refs)...)
			break
		}
	}
	return result, join(errs)
}

// rank orders deletions: the reverse of the order of applying, so that webhooks and
// custom resources go before workloads, those before their configuration, and
// namespaces and definitions last. Rights go even after them when the deletions are
// made with rights that may be among them. The account goes before its rights: it
// keeps them, and that it is gone tells who comes later why nothing more can be done.
func (r PruneRequest) rank(ref cluster.Ref) int {
	last := len(kindOrder) - rank("CustomResourceDefinition")
	switch {
	case r.Own != nil && ref.Kind == account:
		return last + 1
	case r.Own != nil && isRight(ref.Kind):
		return last + 2
	}
	return len(kindOrder) - rank(ref.Kind)
}

const account = "ServiceAccount"

// rights are the kinds that a service account's rights are made of.
var rights = []string{"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}

// isRight says whether deletions may need an object of this kind: accounts and rights.
func isRight(kind string) bool { return kind == account || slices.Contains(rights, kind) }

// WithoutRights splits entries into those of service accounts and rights, which the
// deletion of the others may need, and the others. What cannot be read is an other.
func WithoutRights(entries []inventory.Entry) (others, rights []inventory.Entry) {
	for _, e := range entries {
		if ref, err := inventory.Parse(e); err == nil && isRight(ref.Kind) {
			rights = append(rights, e)
			continue
		}
		others = append(others, e)
	}
	return others, rights
}

// prune looks at all objects of a group before it deletes the first, and asks for all
// of a group of rights whether they may be deleted: afterwards the right to may be gone.
func (e *Engine) prune(ctx context.Context, req PruneRequest, refs []cluster.Ref, result *PruneResult) error {
	verdicts := make([]verdict, len(refs))
	silent := e.parallel(ctx, len(refs), func(ctx context.Context, n int) error {
		verdicts[n] = judge(ctx, req, refs[n])
		if v := &verdicts[n]; v.doomed() && req.Own != nil && isRight(refs[n].Kind) {
			v.err = req.Client.MayDelete(ctx, refs[n], v.live.UID)
			v.allowed = v.err == nil
		}
		return verdicts[n].err
	})
	if silent != nil {
		result.Failed = append(result.Failed, inventory.OfRefs(refs)...)
		return fmt.Errorf("look at what is to be deleted: %w", silent)
	}
	var (
		mu   sync.Mutex
		errs = make([]error, len(refs))
	)
	silent = e.parallel(ctx, len(refs), func(ctx context.Context, n int) error {
		outcome, err := e.remove(ctx, req, refs[n], verdicts[n])
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs[n] = objectError(&item{ref: refs[n]}, "%s delete failed: %s", err)
			result.Failed = append(result.Failed, inventory.EntryOf(refs[n]))
			return err
		}
		result.Outcomes = append(result.Outcomes, outcome)
		return nil
	})
	return joinTried(errs, silent)
}

// parallel calls f for 0 to n-1, as many at once as the engine's options say. It returns the first error of a request that
// got no answer in time; the context of the others ends then.
func (e *Engine) parallel(ctx context.Context, n int, f func(context.Context, int) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var group errgroup.Group
	group.SetLimit(e.opts.Parallel)
	for i := range n {
		group.Go(func() error {
			err := f(ctx, i)
			if !cluster.TimedOut(err) {
				return nil
			}
			end(cluster.ErrSilent)
			return err
		})
	}
	return group.Wait()
}

// deleteAttempts bounds the deletions of an object as it was judged, when it changes each time
// before it is reached. deletePause is the pause before the second, and doubles with each.
const (
	deleteAttempts = 8
	deletePause    = 5 * time.Millisecond
)

// remove carries out what was judged of an object. One that changed since is judged again: it
// may be another owner's now, whose records stay. One that never rests is deleted in the end
// whatever its version, right after it was judged: it could not be pruned at all otherwise.
func (e *Engine) remove(ctx context.Context, req PruneRequest, r cluster.Ref, v verdict) (Outcome, error) {
	e.forget(r)
	for attempt := 0; ; attempt++ {
		if v.err != nil {
			return Outcome{}, v.err
		}
		e.records.Withdraw(r, req.Owner)
		if v.spared {
			return Outcome{Object: r, Action: Skipped}, nil
		}
		last := attempt == deleteAttempts
		err := v.erase(ctx, req.Client, r, last)
		if v.allowed && apierrors.IsForbidden(err) { // what allowed it is deleted by now
			err = v.erase(ctx, req.Own, r, last)
		}
		switch {
		case cluster.IsGone(err):
			return Outcome{Object: r, Action: Skipped}, nil
		case err == nil:
			return Outcome{Object: r, Action: Deleted, UID: v.live.UID, Held: len(v.live.Finalizers) > 0}, nil
		case !apierrors.IsConflict(err) || last:
			return Outcome{}, err
		}
		select {
		case <-time.After(deletePause << attempt):
		case <-ctx.Done():
			return Outcome{}, context.Cause(ctx)
		}
		allowed := v.allowed
		v = judge(ctx, req, r)
		v.allowed = allowed
	}
}

// erase deletes the object that was judged: as it was then, or as whatever it has become.
func (v verdict) erase(ctx context.Context, client *cluster.Client, r cluster.Ref, changed bool) error {
	if changed {
		return client.Delete(ctx, r, v.live.UID)
	}
	return client.DeleteVersion(ctx, r, v.live.UID, v.live.ResourceVersion)
}

// GiveUp forgets objects that left what owner asks for and stay where they are.
func (e *Engine) GiveUp(owner cluster.Owner, refs []cluster.Ref) {
	for _, r := range refs {
		e.forget(r)
		e.records.Withdraw(r, owner)
	}
}
