package handle

import (
	"context"
	"errors"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

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

// checkHealth looks at the objects once after they were applied. What is not
// ready then is waited for without a worker.
func (p *pass) checkHealth(bounded, ctx context.Context, try *attempt) (bus.Result, error) {
	refs := healthRefs(p.ks, try.awaited)
	if len(refs) == 0 {
		return p.succeeded(ctx, try, "")
	}
	h, err := p.Target.Health(bounded, try.claim.Object(), refs, p.rules)
	if err != nil {
		return p.failed(ctx, try, status.Failure{Reason: status.ReasonHealthFailed, Message: err.Error(), Cause: err})
	}
	if h.Healthy() {
		return p.succeeded(ctx, try, passed(time.Since(try.Started)))
	}
	if len(h.Failed) > 0 {
		return p.failed(ctx, try, unhealthy(time.Since(try.Started), h))
	}
	return p.beginWait(ctx, try, h)
}

// beginWait writes what was applied, and that it is waited for.
func (p *pass) beginWait(ctx context.Context, try *attempt, h health.Report) (bus.Result, error) {
	status.Wait(try.next, try.Attempt)
	if err := try.claim.Write(ctx, try.next); err != nil {
		return bus.Result{}, err
	}
	if len(try.changes) > 0 {
		p.Recorder.Tell(try.next, report.Note{
			Reason: kube.ReasonProgressing, Message: report.Changes(try.changes),
			Revision: try.Revision, OriginRevision: try.OriginRevision,
		})
	}
	if err := p.tellPruned(ctx, try); err != nil {
		return bus.Result{}, err
	}
	p.Target.Await(try.next, h.Waiting())
	p.changed.put(p.check.Key, try.RenderID, try.changes)
	waiting := make([]events.ObjectRef, 0, len(h.InProgress))
	for _, ref := range h.Waiting() {
		waiting = append(waiting, eventRef(ref))
	}
	return bus.Result{Next: time.Second}, p.journal.Write(ctx, events.Health{
		Applied: p.journal.Applied(try.Revision, try.RenderID), Message: status.Message(try.next), Waiting: waiting,
	})
}

// stillWaiting looks again at what an earlier pass began to wait for. Applying
// sends nothing about objects that stand as they were applied.
func (p *pass) stillWaiting(ctx context.Context, a status.Attempt, since time.Time) (bus.Result, error) {
	objects, err := p.open(ctx, a)
	if errors.Is(err, desired.ErrBroken) {
		return p.broken(ctx, a, err)
	}
	if err != nil {
		return bus.Result{}, err
	}
	try := p.waited(a, since)
	applied, err := p.Target.Apply(ctx, Work{Object: p.ks, Render: a.RenderID, Objects: objects, Compare: p.reportOnly(), Guard: try.claim.Hold})
	var stage *engine.StageError
	if errors.As(err, &stage) && !stage.Ends() {
		return p.beginStageWait(ctx, try, stage)
	}
	if err != nil {
		return p.failed(ctx, try, status.Failure{Reason: status.ReasonFailed, Message: err.Error(), Cause: err})
	}
	p.compared.note(p.check.Key, p.started)
	if err := p.tellDrift(ctx, a, applied); err != nil {
		return bus.Result{}, err
	}
	h, err := p.Target.Health(ctx, p.ks, healthRefs(p.ks, applied.Awaited), p.rules)
	if err != nil {
		return p.blind(ctx, try, status.ReasonHealthFailed, err)
	}
	return p.judgeWait(ctx, try, h, time.Since(since))
}

// waited is an attempt that an earlier pass began to wait for.
func (p *pass) waited(a status.Attempt, since time.Time) *attempt {
	a.Started = since
	return &attempt{Attempt: a, claim: p.Writer.Watch(p.ks), next: p.ks.DeepCopy()}
}

// blind ends a pass that could not see what is waited for. It is tried again until the wait's time is over.
func (p *pass) blind(ctx context.Context, try *attempt, reason string, err error) (bus.Result, error) {
	waited, timeout := time.Since(try.Started), p.ks.GetTimeout()
	switch {
	case stopped(ctx, err):
		return bus.Result{}, err
	case waited >= timeout:
		return p.failed(ctx, try, status.Failure{Reason: reason, Message: err.Error(), Cause: err})
	}
	p.log.Warn("cannot see what is waited for", "revision", try.Revision, "error", err.Error())
	return bus.Result{Next: pollAfter(waited, timeout-waited, watchedPoll)}, nil
}

func (p *pass) judgeWait(ctx context.Context, try *attempt, h health.Report, waited time.Duration) (bus.Result, error) {
	switch {
	case h.Healthy():
		try.changes, try.told = p.changed.take(p.check.Key, try.RenderID), true
		return p.succeeded(ctx, try, passed(waited))
	case len(h.Failed) > 0, waited >= p.ks.GetTimeout():
		return p.failed(ctx, try, unhealthy(waited, h))
	}
	poll := watchedPoll
	if untold := p.Target.Await(p.ks, h.Waiting()); len(untold) > 0 {
		poll = healthPoll
	}
	return bus.Result{Next: pollAfter(waited, p.ks.GetTimeout()-waited, poll)}, nil
}

// pollAfter is when to look again although no watch said anything: soon at first,
// rarely later, and at the deadline.
func pollAfter(waited, left, poll time.Duration) time.Duration {
	return max(min(waited/2, poll, left), time.Second)
}

func passed(took time.Duration) string {
	return "Health check passed in " + took.Round(time.Millisecond).String()
}

func unhealthy(took time.Duration, h health.Report) status.Failure {
	why, list := "timeout waiting for", h.InProgress
	if len(h.Failed) > 0 {
		why, list = "failed early due to stalled resources", h.Failed
	}
	return status.Failure{
		Reason:  status.ReasonHealthFailed,
		Message: fmt.Sprintf("health check failed after %s: %s: %s", took.Round(time.Millisecond), why, health.List(list)),
	}
}

// healthRefs are the objects whose health counts: all that were applied when the
// object asks for wait, else those it lists. The object itself never does.
func healthRefs(ks *kustomizev1.Kustomization, applied []cluster.Ref) []cluster.Ref {
	refs := applied
	if !ks.Spec.Wait {
		refs = nil
		for _, h := range ks.Spec.HealthChecks {
			gv, err := schema.ParseGroupVersion(firstOf(h.APIVersion, "apps/v1"))
			if err != nil {
				gv = schema.GroupVersion{Version: h.APIVersion} // which no server knows, so the check says so
			}
			refs = append(refs, cluster.NewRef(gv.WithKind(h.Kind), h.Namespace, h.Name))
		}
	}
	var out []cluster.Ref
	for _, r := range refs {
		self := r.Group == kustomizev1.GroupVersion.Group && r.Kind == kustomizev1.KustomizationKind &&
			r.Namespace == ks.Namespace && r.Name == ks.Name
		if !self {
			out = append(out, r)
		}
	}
	return out
}
