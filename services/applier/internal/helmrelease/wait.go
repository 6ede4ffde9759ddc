package helmrelease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// How often a release is looked at whose objects are waited for: where a watch tells every change, in case
// one was lost, and where none does.
const (
	watchedPoll   = 30 * time.Second
	unwatchedPoll = 5 * time.Second
)

// rounds is how often a pass looks again at once because what is waited for has changed since.
const rounds = 3

// advance takes steps of what began at since until it is over, or waits for what somebody watches by now. Then wait is
// when it is looked at again although no watch told anything: at its deadline at the latest, and soon when what is waited
// for changes faster than it is looked at.
func (p *pass) advance(ctx context.Context, since time.Time, step func(context.Context) (release.Progress, error)) (progress release.Progress, wait time.Duration, err error) {
	var watched []cluster.Ref // before the step looked
	for range rounds {
		progress, err = step(ctx)
		if err != nil || progress.Done {
			p.place.Table.Await(p.owner(), nil)
			return progress, 0, err
		}
		for _, w := range progress.Waiting {
			p.place.Table.Manage(w.Ref.GVK())
		}
		untold, stale := p.place.Table.Await(p.owner(), progress.Waiting)
		unseen := unseen(progress.Waiting)
		if !stale && within(unseen, watched) {
			return progress, pollAfter(time.Since(since), progress.Left, len(untold) == 0), nil
		}
		watched = unseen
	}
	return progress, again, nil
}

// hindered says whether a step met with what does not go away by itself.
func hindered(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && !errors.Is(err, helmstore.ErrLost) && !release.Transient(err)
}

// hindrance says what an action meets with that somebody has to mend. It goes on when that is done. Any other error is
// returned.
func (p *pass) hindrance(ctx context.Context, action string, why error) (bus.Result, error) {
	if !hindered(ctx, why) {
		return bus.Result{}, why
	}
	return p.refuse(ctx, refusal{reason: "FactoryError", message: textHindered(action, why), retry: retryWait, warn: true})
}

func textHindered(action string, why error) string {
	return fmt.Sprintf("the %s action cannot go on: %s", action, why)
}

// unseen are the objects of which no version is known: those that are not there, or go.
func unseen(waiting []cluster.Seen) (refs []cluster.Ref) {
	for _, w := range waiting {
		if w.At == "" {
			refs = append(refs, w.Ref)
		}
	}
	return refs
}

// within says whether all refs are among others.
func within(refs, others []cluster.Ref) bool {
	return !slices.ContainsFunc(refs, func(r cluster.Ref) bool { return !slices.ContainsFunc(others, r.Same) })
}

// pollAfter is when to look again although nobody told anything.
func pollAfter(waited, left time.Duration, told bool) time.Duration {
	poll := watchedPoll
	if !told {
		poll = min(waited/2, unwatchedPoll)
	}
	return max(min(poll, left), time.Second)
}
