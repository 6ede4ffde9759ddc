package handle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/applier/internal/claim"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/refusal"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// attempt is one attempt under way: what it claimed, did and leaves behind.
type attempt struct {
	status.Attempt
	claim *claim.Claim
	// next is the status as it will be written.
	next    *kustomizev1.Kustomization
	changes []events.Change
	pruned  []events.ObjectRef
	awaited []cluster.Ref
	// told is true when the changes were told when a wait began.
	told bool
}

// apply carries out an attempt: claim, apply, prune, health, final status.
func (p *pass) apply(ctx context.Context, a status.Attempt) (bus.Result, error) {
	objects, err := p.open(ctx, a)
	if errors.Is(err, desired.ErrBroken) {
		return p.broken(ctx, a, err)
	}
	if err != nil {
		return bus.Result{}, err
	}
	held, err := p.overBudget(ctx, a, objects)
	if err != nil {
		held = &status.Failure{Reason: status.ReasonFailed, Message: err.Error(), Cause: err}
	}
	if held != nil {
		return p.holdBack(ctx, a, *held)
	}
	try, err := p.claim(ctx, a, objects)
	if errors.Is(err, claim.ErrTooLarge) {
		return p.holdBack(ctx, a, p.tooMany(objects, err))
	}
	if err != nil {
		return bus.Result{}, err
	}
	p.changed.forget(p.check.Key) // of an attempt that this one supersedes
	bounded, cancel := context.WithTimeout(ctx, p.ks.GetTimeout())
	defer cancel()
	if f := p.applyObjects(bounded, try, objects); f != nil {
		var stage *engine.StageError
		if errors.As(f.Cause, &stage) && !stage.Ends() {
			return p.beginStageWait(ctx, try, stage)
		}
		return p.failed(ctx, try, *f)
	}
	if f := p.prune(bounded, try); f != nil {
		return p.failed(ctx, try, *f)
	}
	return p.checkHealth(bounded, ctx, try)
}

// open returns the objects of an attempt's render as the target cluster has them. They are in use until the pass opens
// others, or ends. The error is a *cluster.NoTargetError when the cluster does not answer.
func (p *pass) open(ctx context.Context, a status.Attempt) ([]render.Object, error) {
	p.close()
	objects, closed, err := p.Renders.Open(ctx, desired.Identity(p.Options.Cluster, p.ks), p.renderName(a), a.RenderID)
	if err != nil {
		return nil, err
	}
	p.opened = closed
	err = p.Target.Place(ctx, objects)
	if cluster.Unanswered(err) {
		err = &cluster.NoTargetError{Err: err}
	}
	if err != nil {
		return nil, err
	}
	return objects, nil
}

// close gives back the room of the render that the pass opened last.
func (p *pass) close() {
	if p.opened != nil {
		p.opened()
	}
	p.opened = nil
}

// claim writes the status that fences other appliers off, and says that work
// begins. Its inventory has what is there and what the attempt may make, so that
// nothing is orphaned wherever the attempt ends.
func (p *pass) claim(ctx context.Context, a status.Attempt, objects []render.Object) (*attempt, error) {
	if p.quick(objects) {
		return p.claimQuick(ctx, a, objects)
	}
	p.tellSuperseded(a)
	next := p.ks.DeepCopy()
	status.Claim(next, a)
	setInventory(next, inventory.Merge(entries(p.ks), inventory.Of(plain(objects))))
	status.Renew(p.ks, next, time.Now())
	held, err := p.Writer.Take(ctx, p.ks, next)
	if err != nil {
		return nil, err
	}
	try := &attempt{Attempt: a, claim: held, next: held.Object().DeepCopy()}
	return try, p.journal.Write(ctx, events.ApplyProgressing{
		Applied: p.journal.Applied(a.Revision, a.RenderID), Message: status.Message(next),
	})
}

// quickObjects is how many objects an attempt may have that claims in the journal
// alone: few enough that nobody misses its progress in the status.
const quickObjects = 32

// quick says whether an attempt may claim in the journal alone: the object is Ready
// or was never tried, and nobody asked for this pass (docs/adr/0005).
func (p *pass) quick(objects []render.Object) bool {
	return len(objects) <= quickObjects && (status.Ready(p.ks) || status.Untried(p.ks)) && !status.Requested(p.ks)
}

// claimQuick claims by the journal's expected sequence, which fences off as the
// status does and costs the API server nothing. The attempt is lost all the same
// when somebody else writes the status. What the attempt may make is in the journal, too.
func (p *pass) claimQuick(ctx context.Context, a status.Attempt, objects []render.Object) (*attempt, error) {
	all := inventory.Merge(entries(p.ks), inventory.Of(plain(objects)))
	made, err := inventory.ParseAll(inventory.Stale(all, entries(p.ks)))
	if err != nil {
		return nil, err
	}
	begun := events.ApplyProgressing{
		Applied: p.journal.Applied(a.Revision, a.RenderID), Attempt: rand.Text(), Message: status.Detecting(p.ks, a),
	}
	for _, ref := range made {
		begun.Objects = append(begun.Objects, eventRef(ref))
	}
	err = p.journal.Claim(ctx, begun)
	if errors.Is(err, bus.ErrConflict) {
		return nil, errors.Join(claim.ErrLost, err)
	}
	if err != nil {
		return nil, err
	}
	next := p.ks.DeepCopy()
	setInventory(next, all)
	return &attempt{Attempt: a, claim: p.Writer.Watch(p.ks), next: next}, nil
}

// tooMany says that nothing is applied because the status cannot list all: what it does not list would never be pruned.
func (p *pass) tooMany(objects []render.Object, err error) status.Failure {
	all := inventory.Merge(entries(p.ks), inventory.Of(plain(objects)))
	return status.Failure{Reason: status.ReasonFailed, Cause: err, Message: fmt.Sprintf(
		"nothing is applied: its status has no room to list %d objects, those it has and those of the new revision, by their names: "+
			"split it into several Kustomizations", len(all))}
}

// tellSuperseded says that a wait for health ends because of a newer revision, or
// of a change of the object itself.
func (p *pass) tellSuperseded(a status.Attempt) {
	if !status.WaitOn(p.ks) {
		return
	}
	old := p.ks.Status.LastAttemptedRevision
	by := fmt.Sprintf("%s/%s", kustomizev1.KustomizationKind, nameOf(p.ks))
	if old != a.Revision {
		kind, name := kube.SourceOf(p.ks)
		by = fmt.Sprintf("%s/%s", kind, name)
	}
	p.Recorder.Tell(p.ks, report.Note{
		Reason: "HealthCheckCanceled", Message: "New reconciliation triggered by " + by, Revision: old,
	})
}

// applyObjects makes the cluster have the render's objects.
func (p *pass) applyObjects(ctx context.Context, try *attempt, objects []render.Object) *status.Failure {
	applied, err := p.Target.Apply(ctx, Work{
		Object: try.claim.Object(), Render: try.RenderID, Objects: objects,
		Careful: status.Failed(p.ks), Verify: status.Requested(p.ks), Guard: try.claim.Hold,
	})
	try.changes, try.awaited = applied.Changes, applied.Awaited
	if err == nil {
		p.compared.note(p.check.Key, p.started)
		setInventory(try.next, applied.Inventory)
		return nil
	}
	if !applied.Wrote {
		setInventory(try.next, entries(p.ks))
	}
	message := err.Error()
	if len(applied.Changes) > 0 {
		message += "\n" + report.Changes(applied.Changes)
	}
	return &status.Failure{Reason: status.ReasonFailed, Message: message, Cause: err}
}

// prune deletes what left the render. What could not be deleted stays in the
// inventory, so that a later pass tries again.
func (p *pass) prune(ctx context.Context, try *attempt) *status.Failure {
	stale := inventory.Stale(entries(p.ks), entries(try.next))
	if len(stale) == 0 {
		return nil
	}
	if !p.ks.Spec.Prune {
		p.Target.GiveUp(p.ks, stale)
		return nil
	}
	result, err := p.Target.Prune(ctx, try.claim.Object(), stale, try.claim.Hold)
	p.lingering.add(p.check.Key, result.Held())
	for _, ref := range result.Deleted() {
		try.pruned = append(try.pruned, eventRef(ref))
		try.changes = append(try.changes, events.Change{Object: eventRef(ref), Action: "deleted"})
	}
	if len(result.Failed) > 0 {
		setInventory(try.next, inventory.Merge(entries(try.next), result.Failed))
	}
	if err != nil {
		return &status.Failure{Reason: status.ReasonPruneFailed, Message: err.Error(), Cause: err}
	}
	return nil
}

// lookAgain is when an attempt is made again that met an object which was deleted or
// replaced just then.
const lookAgain = time.Second

// failed ends an attempt without success.
func (p *pass) failed(ctx context.Context, try *attempt, f status.Failure) (bus.Result, error) {
	if f.Cause != nil && stopped(ctx, f.Cause) {
		return bus.Result{}, fmt.Errorf("attempt stopped: %w", f.Cause)
	}
	f.Message = refusal.Cut(strings.TrimSpace(f.Message), maxFailure)
	p.Target.Await(try.next, nil)
	status.Fail(try.next, try.Attempt, f, time.Now())
	if err := try.claim.Write(ctx, try.next); err != nil {
		return bus.Result{}, err
	}
	p.changed.forget(p.check.Key)
	if err := p.tellPruned(ctx, try); err != nil {
		return bus.Result{}, err
	}
	if f.Reason == status.ReasonHealthFailed {
		about := p.journal.Applied(try.Revision, try.RenderID)
		if err := p.journal.Write(ctx, events.Health{Applied: about, Message: f.Message}); err != nil {
			return bus.Result{}, err
		}
	}
	next := p.ks.GetRetryInterval()
	if errors.Is(f.Cause, engine.ErrConflict) {
		next = min(next, lookAgain)
	}
	err := p.tellFailure(ctx, try.next, try.Attempt, f, try.changes)
	return bus.Result{Next: next}, err
}

// succeeded ends an attempt with success.
func (p *pass) succeeded(ctx context.Context, try *attempt, healthMessage string) (bus.Result, error) {
	now := time.Now()
	status.Succeed(try.next, try.Attempt, healthMessage, now)
	p.Target.Await(try.next, nil)
	if err := try.claim.Write(ctx, try.next); err != nil {
		return bus.Result{}, err
	}
	p.said.Forget(p.check.Key)
	result := p.interval()
	note := report.Note{Reason: status.ReasonSucceeded, Revision: try.Revision, OriginRevision: try.OriginRevision}
	if len(try.changes) > 0 && !try.told {
		change := note
		change.Reason, change.Message = kube.ReasonProgressing, report.Changes(try.changes)
		p.Recorder.Tell(try.next, change)
	}
	about := p.journal.Applied(try.Revision, try.RenderID)
	if healthMessage != "" {
		if p.healthIsNews(try) {
			passed := note
			passed.Reason, passed.Message = kube.ReasonProgressing, healthMessage
			p.Recorder.Tell(try.next, passed)
		}
		if err := p.journal.Write(ctx, events.Health{Applied: about, Healthy: true, Message: healthMessage}); err != nil {
			return bus.Result{}, err
		}
	}
	if err := p.tellPruned(ctx, try); err != nil {
		return bus.Result{}, err
	}
	note.Message, note.Commit = report.Finished(now.Sub(try.Started), p.ks.Spec.Interval.Duration), true
	p.Recorder.Tell(try.next, note)
	return result, p.journal.Write(ctx, events.ApplySucceeded{
		Applied: about, Changes: try.changes, DurationMS: now.Sub(try.Started).Milliseconds(),
	})
}

// healthIsNews says whether people should hear that a health check passed: the
// object was not healthy before, or is so with something new.
func (p *pass) healthIsNews(try *attempt) bool {
	healthy := meta.IsStatusConditionTrue(p.ks.Status.Conditions, kube.ConditionHealthy)
	return !healthy || (len(try.changes) > 0 && p.ks.Status.LastAppliedRevision != try.Revision)
}

func (p *pass) tellPruned(ctx context.Context, try *attempt) error {
	if len(try.pruned) == 0 {
		return nil
	}
	about := p.journal.Applied(try.Revision, try.RenderID)
	return p.journal.Write(ctx, events.Pruned{Applied: about, Objects: try.pruned})
}
