package handle

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// beginStageWait ends a pass whose attempt cannot go on: it needs a definition or a
// namespace that is not ready, or an object is being deleted that it makes anew. The wait holds
// no worker and no claim: when it is over the attempt is made again, which sends nothing about
// what stands. The inventory stays the claim's, which names all that the attempt may make.
func (p *pass) beginStageWait(ctx context.Context, try *attempt, why *engine.StageError) (bus.Result, error) {
	since := p.stageSince
	if since.IsZero() {
		since = time.Now()
	}
	waited, timeout := time.Since(since), p.ks.GetTimeout()
	if waited >= timeout {
		try.Started, why.Waited = since, waited
		return p.failed(ctx, try, status.Failure{Reason: status.ReasonFailed, Message: why.Error(), Cause: why})
	}
	status.WaitForStage(try.next, try.Attempt, stageReason(why.Report), since)
	if err := try.claim.Write(ctx, try.next); err != nil {
		return bus.Result{}, err
	}
	if len(try.changes) > 0 {
		p.Recorder.Tell(try.next, report.Note{
			Reason: kube.ReasonProgressing, Message: report.Changes(try.changes),
			Revision: try.Revision, OriginRevision: try.OriginRevision,
		})
	}
	p.Target.Await(try.next, why.Report.Waiting())
	return bus.Result{Next: pollAfter(waited, timeout-waited, healthPoll)}, p.journal.Write(ctx, events.ApplyProgressing{
		Applied: p.journal.Applied(try.Revision, try.RenderID), Message: status.Message(try.next),
	})
}

// stageWaiting looks again at what an earlier pass began to wait for. What the attempt has
// applied already is kept as it was applied meanwhile.
func (p *pass) stageWaiting(ctx context.Context, a status.Attempt, since time.Time, dirty []cluster.Ref) (bus.Result, error) {
	p.stageSince = since
	objects, err := p.open(ctx, a)
	if errors.Is(err, desired.ErrBroken) {
		return p.broken(ctx, a, err)
	}
	if err != nil {
		return bus.Result{}, err
	}
	h, err := p.Target.Gates(ctx, p.ks, objects)
	if err != nil {
		return p.blind(ctx, p.waited(a, since), status.ReasonFailed, err)
	}
	again := slices.ContainsFunc(slices.Concat(h.Failed, h.InProgress), func(s health.State) bool {
		return !s.Leaves() && slices.Contains(dirty, s.Object)
	})
	if h.Healthy() || again { // it is ready, or it is gone and has to be made anew
		return p.apply(ctx, a)
	}
	waited, timeout := time.Since(since), p.ks.GetTimeout()
	if len(h.Failed) > 0 || waited >= timeout {
		why := &engine.StageError{Report: h, Waited: waited}
		return p.failed(ctx, p.waited(a, since), status.Failure{Reason: status.ReasonFailed, Message: why.Error(), Cause: why})
	}
	awaited := h.Waiting()
	drifted := slices.DeleteFunc(dirty, func(r cluster.Ref) bool { return slices.ContainsFunc(awaited, r.Same) })
	if err := p.tryCorrect(ctx, a, suspects{known: drifted, applied: true}); err != nil {
		return bus.Result{}, err
	}
	poll := watchedPoll
	if untold := p.Target.Await(p.ks, awaited); len(untold) > 0 {
		poll = healthPoll
	}
	return bus.Result{Next: pollAfter(waited, timeout-waited, poll)}, nil
}

// stageReason says what a stage waits for.
func stageReason(h health.Report) string {
	return health.List(h.InProgress) + health.Reasons(h.InProgress)
}
