package helmrelease

import (
	"context"
	"slices"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// How often a release is looked at whose objects are waited for: where a watch tells every change, in case
// one was lost, and where none does.
const (
	watchedPoll   = 30 * time.Second
	unwatchedPoll = 5 * time.Second
)

// advance takes steps of an action until it is over, or waits for what somebody watches by now. Then wait is
// when it is looked at again although no watch told anything: at its deadline at the latest.
func (p *pass) advance(ctx context.Context, runner *release.Runner, made *record, all []*record) (done bool, wait time.Duration, err error) {
	began := made.Run.Since
	var watched, untold []cluster.Ref
	for {
		progress, err := runner.Step(ctx, made, all)
		if err != nil || progress.Done {
			p.place.Table.Await(p.owner(), nil)
			return progress.Done, 0, err
		}
		if within(progress.Waiting, watched) { // nothing changed since the watch began
			return false, pollAfter(time.Since(began), progress.Left, len(untold) == 0), nil
		}
		watched = progress.Waiting
		untold = p.watch(watched)
	}
}

// watch asks for a check whenever one of these objects changes. It returns those of which no watch tells yet.
func (p *pass) watch(refs []cluster.Ref) (untold []cluster.Ref) {
	for _, r := range refs {
		p.place.Table.Manage(r.GVK())
	}
	return p.place.Table.Await(p.owner(), refs)
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
