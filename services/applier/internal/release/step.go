package release

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"
	helmtime "helm.sh/helm/v3/pkg/time"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/serve"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
)

// Begin stores the revision that an action makes, or marks the one that it works on, as
// pending. From then on the action is under way until Step says that it is over.
func (r *Runner) Begin(ctx context.Context, record *helmstore.Record, run helmstore.Run) error {
	run.Since, run.Reached = r.now().UTC(), time.Time{}
	run.Phase, run.Hook, run.Cleared, run.Made = phasesOf[run.Action][0], 0, false, false
	record.Run = &run
	switch run.Action {
	case Test:
		return r.Store.Update(ctx, record)
	case Uninstall:
		record.SetStatus(helmrelease.StatusUninstalling, "Deletion in progress (or silently failed)")
		record.Info.Deleted = helmtime.Time{Time: run.Since}
		return r.Store.Update(ctx, record)
	}
	record.Info.LastDeployed = helmtime.Time{Time: run.Since}
	record.ApplyMethod = methodServerSide
	switch run.Action {
	case Install:
		record.Info.FirstDeployed = record.Info.LastDeployed
		record.SetStatus(helmrelease.StatusPendingInstall, "Initial install underway")
	case Upgrade:
		record.SetStatus(helmrelease.StatusPendingUpgrade, "Preparing upgrade")
	case Rollback:
		record.SetStatus(helmrelease.StatusPendingRollback, record.Info.Description)
	}
	return r.Store.Create(ctx, record)
}

// phasesOf are the phases of each action.
var phasesOf = map[string][]string{
	Install:   {phaseBefore, phaseResources, phaseWait, phaseAfter, phaseEnd},
	Upgrade:   {phaseBefore, phaseResources, phaseWait, phaseAfter, phaseEnd},
	Rollback:  {phaseBefore, phaseResources, phaseWait, phaseAfter, phaseEnd},
	Uninstall: {phaseBefore, phaseResources, phaseWait, phaseAfter, phaseEnd},
	Test:      {phaseBefore, phaseEnd},
}

// Step goes on with the action that a record is in. all are the revisions of the release,
// oldest first, record among them. A *FailedError ends the action: it is stored as failed. Any
// other error is worth another step.
func (r *Runner) Step(ctx context.Context, record *helmstore.Record, all []*helmstore.Record) (Progress, error) {
	stored, err := record.Stored()
	if err != nil {
		return Progress{}, err
	}
	a := &acting{Runner: r, record: record, run: record.Run, all: all, stored: stored}
	for {
		if a.run.Phase == phaseEnd {
			return Progress{Done: true}, a.end(ctx)
		}
		a.notePhase()
		p, err := a.phase(ctx)
		if len(p.Waiting) > 0 {
			a.note("waiting for %s", p.Message)
		}
		if err == nil && len(p.Waiting) == 0 {
			if err := a.next(); err != nil {
				return Progress{}, err
			}
			continue
		}
		left := a.left()
		switch {
		case err == nil && left > 0:
			p.Left, p.Ahead = left, a.brief()
			if p.Ahead {
				return p, nil
			}
			return p, a.store(ctx)
		case err == nil:
			err = fmt.Errorf("timeout waiting for: %s", p.Message)
		case ctx.Err() != nil, errors.Is(err, helmstore.ErrLost):
			return Progress{}, err
		case Transient(err) && left > 0:
			return Progress{}, errors.Join(err, a.store(ctx))
		}
		return Progress{}, a.fail(ctx, err)
	}
}

// Transient says that an error may go away by itself.
func Transient(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		var permanent *permanentError
		return !errors.As(err, &permanent) && !meta.IsNoMatchError(err)
	}
	return apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsServiceUnavailable(err)
}

// permanentError is one that only another release can help.
type permanentError struct{ error }

func permanent(format string, args ...any) error { return &permanentError{fmt.Errorf(format, args...)} }

// acting is an action under way.
type acting struct {
	*Runner
	record *helmstore.Record
	run    *helmstore.Run
	all    []*helmstore.Record
	// stored is how far the storage says that the action is.
	stored helmstore.Run
	// applied are the API server's answers to what this step applied.
	applied map[cluster.Ref]*unstructured.Unstructured
}

// store stores how far the action got, unless the storage has that. News of the log alone waits for more.
func (a *acting) store(ctx context.Context) error {
	news := *a.run
	news.Log = a.stored.Log
	if reflect.DeepEqual(news, a.stored) {
		return nil
	}
	if err := a.Store.Update(ctx, a.record); err != nil {
		return err
	}
	a.stored = *a.run
	return nil
}

// brief says whether the action waits for its resources since a moment only, and may be taken
// from its begin again: it applied nothing but these.
func (a *acting) brief() bool {
	return a.run.Phase == phaseWait && a.now().Sub(a.run.Since) < a.Options.Brief &&
		(a.Options.DisableHooks || len(a.hooksFor(hooksOf[a.run.Action][0])) == 0)
}

// maxFailure bounds what is stored of a failure, in bytes: all annotations together have 256 KiB, and the release with its
// description a mebibyte.
const maxFailure = 16 << 10

// over notes that the action ended, and why if it failed.
func (a *acting) over(why error) {
	run := *a.run
	run.Over = true
	if why == nil {
		run.Log = nil
	} else {
		run.Failure = serve.Brief(why.Error(), maxFailure)
	}
	a.record.Run = &run
}

// next moves the journal to the phase that follows.
func (a *acting) next() error {
	phases := phasesOf[a.run.Action]
	i := slices.Index(phases, a.run.Phase)
	if i < 0 || i+1 >= len(phases) {
		return fmt.Errorf("release %s/%s: action %s has no phase after %q", a.record.Namespace, a.record.Name, a.run.Action, a.run.Phase)
	}
	a.reach(phases[i+1], 0)
	return nil
}

// reach moves the journal to a hook of a phase.
func (a *acting) reach(phase string, hook int) {
	a.run.Phase, a.run.Hook, a.run.Cleared, a.run.Made, a.run.Reached = phase, hook, false, false, a.now().UTC()
}

func (a *acting) phase(ctx context.Context) (Progress, error) {
	switch a.run.Phase {
	case phaseBefore:
		return a.hooks(ctx, hooksOf[a.run.Action][0])
	case phaseAfter:
		return a.hooks(ctx, hooksOf[a.run.Action][1])
	case phaseResources:
		if a.run.Action == Uninstall {
			return Progress{}, a.remove(ctx)
		}
		return a.apply(ctx)
	case phaseWait:
		if a.run.Action == Uninstall {
			return a.gone(ctx)
		}
		return a.ready(ctx)
	}
	return Progress{}, permanent("the release is in a phase %q that is not known", a.run.Phase)
}

// end stores an action that succeeded.
func (a *acting) end(ctx context.Context) error {
	switch a.run.Action {
	case Test:
		a.record.Run = nil
		return a.Store.Update(ctx, a.record)
	case Uninstall:
		a.record.Run = nil
		return a.forget(ctx)
	}
	a.over(nil)
	for _, other := range a.all {
		if other.Version != a.record.Version && other.Info.Status == helmrelease.StatusDeployed {
			other.Info.Status, other.Run = helmrelease.StatusSuperseded, nil
			if err := a.Store.Update(ctx, other); err != nil {
				return err
			}
		}
	}
	description := map[string]string{Install: "Install complete", Upgrade: "Upgrade complete", Rollback: a.record.Info.Description}[a.run.Action]
	a.record.SetStatus(helmrelease.StatusDeployed, description)
	if err := a.Store.Update(ctx, a.record); err != nil {
		return err
	}
	return a.trim(ctx)
}

// trim deletes the oldest revisions beyond the history's length, never the newest deployed one.
func (a *acting) trim(ctx context.Context) error {
	if a.Options.MaxHistory <= 0 {
		return nil
	}
	over := len(a.all) - a.Options.MaxHistory
	for _, old := range a.all {
		if over <= 0 {
			break
		}
		if old.Version == a.record.Version || old.Info.Status == helmrelease.StatusDeployed {
			continue
		}
		if err := a.Store.Delete(ctx, old); err != nil {
			return err
		}
		over--
	}
	return nil
}

// forget deletes all revisions of an uninstalled release, or keeps them as uninstalled.
func (a *acting) forget(ctx context.Context) error {
	a.record.Info.Deleted = helmtime.Time{Time: a.now().UTC()}
	a.record.SetStatus(helmrelease.StatusUninstalled, "Uninstallation complete")
	if a.Options.KeepHistory {
		return a.Store.Update(ctx, a.record)
	}
	for _, r := range a.all { // the newest last, which says that the others go
		if err := a.Store.Delete(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// failures are what a stored release says of the actions that failed.
var failures = map[string]string{Install: "Release", Upgrade: "Upgrade", Rollback: "Rollback", Uninstall: "Uninstall"}

// fail stores an action that ended without success.
func (a *acting) fail(ctx context.Context, why error) error {
	if err := a.cleanUp(ctx); err != nil {
		why = fmt.Errorf("%w; and what it made could not be deleted: %w", why, err)
	}
	if a.over(why); a.run.Action == Test {
		a.record.Run = nil // it made no revision that could tell
	}
	if verb, stored := failures[a.run.Action]; stored {
		a.record.SetStatus(helmrelease.StatusFailed, fmt.Sprintf("%s %q failed: %s", verb, a.record.Name, serve.Brief(why.Error(), maxFailure)))
	}
	if err := a.Store.Update(ctx, a.record); err != nil {
		return err
	}
	if a.run.Action != Test && a.run.Action != Uninstall {
		if err := a.trim(ctx); err != nil { // the next action's end does it
			a.note("the history could not be shortened: %s", err)
		}
	}
	return &FailedError{Err: why, Log: a.run.Log}
}

// Untouched says whether an action is an install that has done nothing yet but wait for the place of its first hook, so
// that it may be taken back as a whole. Without hooks nobody knows: what was applied in the first moment is not stored.
func (r *Runner) Untouched(record *helmstore.Record) bool {
	run, a := record.Run, &acting{Runner: r, record: record}
	return run.Action == Install && run.Phase == phaseBefore && run.Hook == 0 && !run.Cleared &&
		!r.Options.DisableHooks && len(a.hooksFor(helmrelease.HookPreInstall)) > 0
}

// Supersede ends an install or an upgrade, because something newer is wanted. It returns false when a
// hook is under way, which has to end first, and for other actions.
func (r *Runner) Supersede(ctx context.Context, record *helmstore.Record) (bool, error) {
	run := record.Run
	hooks := run.Phase == phaseBefore || run.Phase == phaseAfter
	if hooks && (run.Hook > 0 || run.Cleared) || run.Action != Install && run.Action != Upgrade {
		return false, nil
	}
	record.SetStatus(helmrelease.StatusFailed, "Superseded before its resources were ready")
	over := *run
	over.Over, over.Log = true, nil
	record.Run = &over
	return true, r.Store.Update(ctx, record)
}

// Unlock stores a pending revision as failed that nobody works on.
func (r *Runner) Unlock(ctx context.Context, record *helmstore.Record) error {
	status := record.Info.Status
	record.SetStatus(helmrelease.StatusFailed, fmt.Sprintf("Release unlocked from stale '%s' state", status))
	return r.Store.Update(ctx, record)
}

// left is how long what the action is at still has: a hook until what was there of it is gone, and again until it is done, and
// any other phase as a whole. There are finitely many, so that the action ends.
func (a *acting) left() time.Duration {
	since := a.run.Reached
	if since.Before(a.run.Since) { // its time began anew, or an earlier version began it
		since = a.run.Since
	}
	return a.Options.Timeout - a.now().Sub(since)
}

func waitFor(waiting []cluster.Seen, message string) Progress {
	return Progress{Waiting: waiting, Message: message}
}
