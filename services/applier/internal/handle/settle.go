package handle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/applier/internal/claim"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// settle finds the least that makes the object be at its newest build.
func (p *pass) settle(ctx context.Context) (bus.Result, error) {
	a := p.attempt()
	dirty := p.Target.Dirty(p.ks)
	putBack := len(dirty) > 0 && !p.reportOnly()
	since, waiting := status.Waiting(p.ks, a.RenderID, a.Revision)
	switch {
	case status.Done(p.ks, a.RenderID, a.Revision):
		return p.done(ctx, a, dirty)
	case waiting && !status.Requested(p.ks):
		return p.stillWaiting(ctx, a, since)
	}
	if since, waiting := status.WaitingForStage(p.ks, a.RenderID, a.Revision); waiting && !status.Requested(p.ks) {
		return p.stageWaiting(ctx, a, since, dirty)
	}
	ready, result, err := p.dependencies(ctx, a)
	if err != nil || !ready {
		return result, err
	}
	if status.Current(p.ks, a.RenderID) && !status.Requested(p.ks) && !putBack {
		return p.move(ctx, a, dirty)
	}
	if wait := time.Until(status.RetryDue(p.ks, a.RenderID, a.Revision)); wait > 0 && !putBack {
		return bus.Result{Next: wait}, nil
	}
	return p.apply(ctx, a)
}

// done ends a pass over an object that is where it should be, once what drifted
// is put back. Objects are compared, too, that watches vouch for badly or not at all,
// once an interval. An entry that a crash kept from the journal is added.
func (p *pass) done(ctx context.Context, a status.Attempt, dirty []cluster.Ref) (bus.Result, error) {
	if err := p.correct(ctx, a, p.suspects(dirty)); err != nil {
		if stopped(ctx, err) {
			return bus.Result{}, err
		}
		if p.reportOnly() {
			return p.notCompared(a, err), nil
		}
		if errors.As(err, &p.lost) || cluster.TimedOut(err) { // what comes next would wait as long
			return bus.Result{}, &cluster.NoTargetError{Err: err}
		}
		p.log.Info("drift could not be put back alone", "revision", a.Revision, "error", err.Error())
		return p.apply(ctx, a) // which reports what is in the way
	}
	if err := p.endFights(ctx, a); err != nil {
		return bus.Result{}, err
	}
	if p.journal.Settled(a.Revision, a.RenderID) {
		return p.interval(), nil
	}
	return p.interval(), p.journal.Write(ctx, events.ApplySucceeded{Applied: p.journal.Applied(a.Revision, a.RenderID)})
}

// move records another revision of the render that is already applied: one status
// write, and nothing about its objects unless it is time to compare them. Revisions
// that come more often than the interval would else put that off for ever.
func (p *pass) move(ctx context.Context, a status.Attempt, dirty []cluster.Ref) (bus.Result, error) {
	next := p.ks.DeepCopy()
	status.Move(next, a, time.Now())
	written, err := p.Writer.Status(ctx, p.ks, next)
	if err != nil {
		return bus.Result{}, err
	}
	p.ks = written
	p.said.Forget(p.check.Key)
	err = p.journal.Write(ctx, events.ApplySucceeded{
		Applied: p.journal.Applied(a.Revision, a.RenderID), DurationMS: time.Since(p.started).Milliseconds(),
	})
	if err == nil && (len(p.overdue()) > 0 || p.Target.VerifyDue(p.ks)) {
		return p.done(ctx, a, dirty)
	}
	return p.interval(), err
}

// overdue returns the objects that no watch vouches for when they were not compared
// for an interval.
func (p *pass) overdue() []cluster.Ref {
	if p.compared.left(p.check.Key, p.ks.Spec.Interval.Duration, time.Now()) > 0 {
		return nil
	}
	return p.Target.Unwatched(p.ks)
}

// hold puts back what drifted from the last good render, while the newest build
// cannot be applied. It compares what no watch vouches for once an interval, however
// often it is called.
func (p *pass) hold(ctx context.Context) error {
	id, revision := status.LastGood(p.ks)
	if id == "" || p.Target == nil {
		return nil
	}
	return p.tryCorrect(ctx, status.Attempt{RenderID: id, Revision: revision, Started: p.started}, p.suspects(p.Target.Dirty(p.ks)))
}

// tryCorrect is correct where drift that cannot be put back now is only logged: something
// else is in the way already. Its error ends the pass.
func (p *pass) tryCorrect(ctx context.Context, a status.Attempt, s suspects) error {
	err := p.correct(ctx, a, s)
	if err == nil || stopped(ctx, err) {
		return err
	}
	var stage *engine.StageError
	if errors.As(err, &stage) && !stage.Ends() {
		p.log.Debug("drift waits to be put back", "revision", a.Revision, "reason", err.Error())
		return nil
	}
	p.log.Error("drift could not be put back meanwhile", "revision", a.Revision, "error", err.Error())
	return nil
}

// suspects are the objects that may differ from what was applied: known ones, or all.
type suspects struct {
	known []cluster.Ref
	all   bool
	// unwatched says that the known ones are also all that no watch vouches for.
	unwatched bool
	// applied leaves out those that were not applied yet as the render has them.
	applied bool
}

// suspects returns what is to be compared now, when so much is known to be dirty. A report of drift
// that is not put back is about all of it.
func (p *pass) suspects(dirty []cluster.Ref) suspects {
	unwatched := p.overdue()
	if len(dirty) > 0 && p.reportOnly() {
		unwatched = p.Target.Unwatched(p.ks)
	}
	return suspects{known: append(dirty, unwatched...), unwatched: len(unwatched) > 0, all: p.Target.VerifyDue(p.ks)}
}

// correct applies a render again, or only reports what would be, when some of its objects differ from it; about
// the others nothing is sent. The status stays as it is: the object is still at
// its revision.
func (p *pass) correct(ctx context.Context, a status.Attempt, s suspects) error {
	if len(s.known) == 0 && !s.all {
		return nil
	}
	objects, err := p.open(ctx, a)
	if errors.Is(err, desired.ErrNoRoom) {
		return err
	}
	if s.all || s.unwatched { // also when it fails: the next time is after the next interval
		p.compared.note(p.check.Key, p.started)
	}
	if err != nil {
		return err
	}
	if !s.all {
		objects = only(objects, s.known)
	}
	opponents := p.opponents(ctx, a, objects)
	applied, err := p.Target.Apply(ctx, Work{
		Object: p.ks, Render: a.RenderID, Objects: objects, Part: !s.all, Again: s.applied, Verify: s.all, Compare: p.reportOnly(), Guard: p.Writer.Watch(p.ks).Hold,
	})
	if err != nil {
		return fmt.Errorf("put back drift: %w", err)
	}
	if err := p.tellDrift(ctx, a, applied); err != nil {
		return err
	}
	return p.tellFights(ctx, a, applied.Changes, opponents)
}

func (p *pass) tellDrift(ctx context.Context, a status.Attempt, applied Applied) error {
	if p.reportOnly() {
		return p.tellDifferences(ctx, a, applied.Differences)
	}
	changes := applied.Changes
	if len(changes) == 0 {
		return nil // what the watch saw was noise
	}
	refs := make([]events.ObjectRef, 0, len(changes))
	for _, c := range changes {
		refs = append(refs, c.Object)
	}
	p.Recorder.Tell(p.ks, report.Note{
		Reason: reasonDriftCorrected, Message: report.Changes(changes), Revision: a.Revision, OriginRevision: a.OriginRevision,
	})
	about := p.journal.Applied(a.Revision, a.RenderID)
	for _, data := range []events.Data{
		events.DriftDetected{Applied: about, Objects: refs},
		events.DriftCorrected{Applied: about, Objects: refs, DurationMS: time.Since(p.started).Milliseconds()},
	} {
		if err := p.journal.Write(ctx, data); err != nil {
			return err
		}
	}
	return nil
}

const reasonDriftCorrected = "DriftCorrected"

// renderName is where a render is stored. The head says so for the newest; an
// older one of the same object lies beside it.
func (p *pass) renderName(a status.Attempt) string {
	if p.build.Head.RenderID == a.RenderID && p.build.Head.RenderName != "" {
		return p.build.Head.RenderName
	}
	return desired.Name(desired.Identity(p.Options.Cluster, p.ks), p.check.Key.Kind, a.RenderID)
}

// stopped says whether an error ends the pass instead of its attempt: the lease,
// the claim or the process is gone, or there is no room for a render.
func stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, claim.ErrLost) || errors.Is(err, desired.ErrNoRoom)
}
