package engine

import (
	"context"
	"fmt"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// verdict says what is to become of a stale object. It is to be deleted when it
// is neither spared nor has an error.
type verdict struct {
	live *metav1.PartialObjectMetadata
	// spared is true when the object is gone or going, opts out, or is another owner's, which foreign says.
	spared, foreign bool
	// allowed is true when the client was asked and may delete it.
	allowed bool
	err     error
}

// doomed says whether the object is to be deleted.
func (v verdict) doomed() bool { return !v.spared && v.err == nil }

// judge looks at a stale object.
func judge(ctx context.Context, req PruneRequest, r cluster.Ref) verdict {
	live, err := req.Client.GetMetadata(ctx, r)
	switch {
	case cluster.IsGone(err):
		return verdict{spared: true}
	case err != nil:
		return verdict{err: err}
	case cluster.OwnerOf(live.Labels) != req.Owner:
		return verdict{live: live, spared: true, foreign: true}
	case live.DeletionTimestamp != nil,
		livestate.OptOuts(live.Annotations, live.Labels).Any(livestate.NoPrune | livestate.NoReconcile | livestate.Ignore):
		return verdict{live: live, spared: true}
	}
	return verdict{live: live}
}

// Doomed returns the stale objects that Prune would delete now, with their uids.
func (e *Engine) Doomed(ctx context.Context, req PruneRequest) ([]Outcome, error) {
	var out []Outcome
	err := e.inspect(ctx, req, func(r cluster.Ref, v verdict) {
		if !v.spared {
			out = append(out, Outcome{Object: r, Action: Deleted, UID: v.live.UID})
		}
	})
	return out, err
}

// Terminating returns the owner's stale objects that are deleted and still there,
// held by their finalizers. It looks once.
func (e *Engine) Terminating(ctx context.Context, req PruneRequest) ([]Lingering, error) {
	var out []Lingering
	err := e.inspect(ctx, req, func(r cluster.Ref, v verdict) {
		if v.live != nil && !v.foreign && v.live.DeletionTimestamp != nil {
			out = append(out, Lingering{Object: r, Finalizers: v.live.Finalizers})
		}
	})
	return out, err
}

// inspect calls f for each stale object in order.
func (e *Engine) inspect(ctx context.Context, req PruneRequest, f func(cluster.Ref, verdict)) error {
	refs, err := inventory.ParseAll(req.Stale)
	if err != nil {
		return err
	}
	verdicts := make([]verdict, len(refs))
	silent := e.parallel(ctx, len(refs), func(ctx context.Context, n int) error {
		verdicts[n] = judge(ctx, req, refs[n])
		return verdicts[n].err
	})
	if silent != nil {
		return fmt.Errorf("look at what is to be deleted: %w", silent)
	}
	for n, v := range verdicts {
		if v.err != nil {
			return fmt.Errorf("read %s: %w", refs[n], v.err)
		}
		f(refs[n], v)
	}
	return nil
}
