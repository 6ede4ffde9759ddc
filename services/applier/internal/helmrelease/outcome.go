package helmrelease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
	"github.com/sluice-gitops/sluice/services/applier/internal/verdict"
)

// asFailure returns why an action ended without success; nil when it has not. What the action did last is
// told with it.
func (p *pass) asFailure(err error) error {
	var failed *release.FailedError
	if errors.As(err, &failed) {
		p.lines = failed.Log
		return failed.Err
	}
	return nil
}

// succeeded ends an action that succeeded, and goes on with what follows from it.
func (p *pass) succeeded(ctx context.Context, all []*record, made *record, action string) (bus.Result, error) {
	c := p.conditions()
	follow, kept := p.run, helmv2.ReleaseAction(action)
	switch action {
	case release.Install, release.Upgrade:
		reason := helmv2.InstallSucceededReason
		if action == release.Upgrade {
			reason = helmv2.UpgradeSucceededReason
		}
		c.Remove(helmv2.RemediatedCondition)
		c.Remove(helmv2.TestSuccessCondition)
		if p.hr.GetTest().Enable {
			c.Set(helmv2.TestSuccessCondition, metav1.ConditionUnknown, "AwaitingTests", textAwaiting(made))
		}
		c.Set(helmv2.ReleasedCondition, metav1.ConditionTrue, reason, textSucceeded(action, made))
		p.tell(note{reason: reason, message: textSucceeded(action, made), of: made})
		if err := p.keepInventory(made); err != nil {
			return bus.Result{}, err
		}
		p.hr.Status.ObservedPostRenderersDigest, p.hr.Status.ObservedCommonMetadataDigest = made.Run.PostRenderers, made.Run.CommonMetadata
		if done, result, err := p.arrived(ctx, made, all, kept); err != nil || done {
			return result, err
		}
	case release.Test:
		message := textTested(made, len(p.tests(made)))
		c.Set(helmv2.TestSuccessCondition, metav1.ConditionTrue, helmv2.TestSucceededReason, message)
		p.tell(note{reason: helmv2.TestSucceededReason, message: message, of: made})
		kept = "" // tests do not make a revision
	case release.Rollback:
		c.Set(helmv2.RemediatedCondition, metav1.ConditionTrue, helmv2.RollbackSucceededReason, textRolledBack(made))
		p.tell(note{reason: helmv2.RollbackSucceededReason, message: textRolledBack(made), of: made})
		if err := p.keepInventory(made); err != nil {
			return bus.Result{}, err
		}
		follow = p.later
	case release.Uninstall:
		return p.uninstalled(ctx, all, made)
	}
	return p.remember(ctx, made, all, kept, follow)
}

// uninstalled ends the uninstall of a release that failed, or that another chart replaces.
func (p *pass) uninstalled(ctx context.Context, all []*record, made *record) (bus.Result, error) {
	p.hr.Status.Inventory = nil
	if p.forgets {
		p.hr.Status.ClearHistory()
		p.hr.Status.ClearFailures()
		p.tell(note{reason: helmv2.UninstallSucceededReason, message: textUninstalled(made), of: made})
		if err := p.write(ctx); err != nil {
			return bus.Result{}, err
		}
		return p.run(ctx)
	}
	message := textRemedied(made)
	p.conditions().Set(helmv2.RemediatedCondition, metav1.ConditionTrue, helmv2.UninstallSucceededReason, message)
	p.tell(note{reason: helmv2.UninstallSucceededReason, message: message, of: made})
	return p.remember(ctx, made, all, helmv2.ReleaseActionUninstallRemediation, p.later)
}

// failed ends an action that failed. One that left nothing in storage costs no retry.
func (p *pass) failed(ctx context.Context, all []*record, made *record, action string, why error) (bus.Result, error) {
	c, s := p.conditions(), &p.hr.Status
	stored := slices.Contains(all, made)
	s.Failures++
	var n note
	condition := helmv2.ReleasedCondition
	switch action {
	case release.Install:
		n = note{reason: helmv2.InstallFailedReason, message: textFailed(action, p.hr, made, why)}
		if stored {
			s.InstallFailures++
		}
	case release.Upgrade:
		n = note{reason: helmv2.UpgradeFailedReason, message: textFailed(action, p.hr, made, why)}
		if stored {
			s.UpgradeFailures++
		}
	case release.Test:
		if stored {
			return p.testFailed(ctx, all, made, why)
		}
		n, condition = note{reason: helmv2.TestFailedReason, message: textTestFailed(made, why)}, helmv2.TestSuccessCondition
	case release.Rollback:
		n, condition = note{reason: helmv2.RollbackFailedReason, message: textRollbackFailed(made, why)}, helmv2.RemediatedCondition
	case release.Uninstall:
		n, condition = note{reason: helmv2.UninstallFailedReason, message: textRemedyFailed(made, why)}, helmv2.RemediatedCondition
		if made.Run != nil && made.Run.Forget {
			n.message, condition = textUninstallFailed(made, why), helmv2.ReleasedCondition
		}
	}
	if condition == helmv2.ReleasedCondition {
		c.Remove(helmv2.RemediatedCondition)
		c.Remove(helmv2.TestSuccessCondition)
	}
	c.Set(condition, metav1.ConditionFalse, n.reason, n.message)
	n.warning, n.of, n.lines = true, made, p.lines
	p.tell(n)
	if err := p.journalFailure(ctx, n.reason, n.message, false); err != nil {
		return bus.Result{}, err
	}
	if !stored {
		p.summarize()
		p.handled()
		return bus.Result{Next: retryWait}, p.write(ctx)
	}
	follow := p.later
	if action == release.Rollback || action == release.Uninstall {
		follow = p.muchLater
	}
	return p.remember(ctx, made, all, helmv2.ReleaseAction(action), follow)
}

// testFailed ends tests that failed: like a failed release, unless their failure is ignored.
func (p *pass) testFailed(ctx context.Context, all []*record, made *record, why error) (bus.Result, error) {
	message := textTestFailed(made, why)
	p.conditions().Set(helmv2.TestSuccessCondition, metav1.ConditionFalse, helmv2.TestFailedReason, message)
	p.tell(note{reason: helmv2.TestFailedReason, message: message, warning: true, of: made, lines: p.lines})
	if remediation := p.hr.GetActiveRemediation(); remediation != nil && !remediation.MustIgnoreTestFailures(p.hr.GetTest().IgnoreFailures) {
		remediation.IncrementFailureCount(p.hr)
	}
	if err := p.journalFailure(ctx, helmv2.TestFailedReason, message, false); err != nil {
		return bus.Result{}, err
	}
	return p.remember(ctx, made, all, "", p.run)
}

// tests are the test hooks that ran.
func (p *pass) tests(made *record) map[string]*helmv2.TestHookStatus {
	out := map[string]*helmv2.TestHookStatus{}
	for _, h := range made.Hooks {
		if !slices.Contains(h.Events, helmrelease.HookTest) || h.LastRun.StartedAt.IsZero() {
			continue
		}
		out[h.Name] = &helmv2.TestHookStatus{
			LastStarted: metav1.NewTime(h.LastRun.StartedAt.Time), LastCompleted: metav1.NewTime(h.LastRun.CompletedAt.Time),
			Phase: h.LastRun.Phase.String(),
		}
	}
	return out
}

// arrived ends a pass whose install or upgrade leaves nothing to do, as the newest render that
// the pass knows says, with one write of the status. When done is false it has written nothing.
func (p *pass) arrived(ctx context.Context, made *record, all []*record, action helmv2.ReleaseAction) (done bool, result bus.Result, err error) {
	if p.head == nil || p.hr.Annotations[helmv2.ForceRequestAnnotation] != p.hr.Status.LastHandledForceAt {
		return false, bus.Result{}, nil
	}
	g, err := p.goal(*p.head, made.Chart.Metadata, made.Config)
	if err != nil {
		return false, bus.Result{}, err
	}
	if err := p.chronicle(made, all, action); err != nil {
		return false, bus.Result{}, err
	}
	state, _, err := verdict.Of(p.hr, all, g.wanted)
	if err != nil || state != verdict.InSync {
		return false, bus.Result{}, err
	}
	result, err = p.inSync(ctx, g, made)
	return true, result, err
}

// remember puts a revision into the status, writes that and goes on.
func (p *pass) remember(ctx context.Context, made *record, all []*record, action helmv2.ReleaseAction, follow func(context.Context) (bus.Result, error)) (bus.Result, error) {
	if err := p.chronicle(made, all, action); err != nil {
		return bus.Result{}, err
	}
	p.summarize()
	if err := p.write(ctx); err != nil {
		return bus.Result{}, err
	}
	return follow(ctx)
}

// chronicle puts a revision into the status' history.
func (p *pass) chronicle(made *record, all []*record, action helmv2.ReleaseAction) error {
	snapshot, err := verdict.Snapshot(made, action)
	if err != nil {
		return err
	}
	history, err := verdict.Keep(p.hr.Status.History, snapshot, all)
	if err != nil {
		return err
	}
	snapshot.OCIDigest = p.hr.Status.LastAttemptedRevisionDigest
	if action == "" && p.hr.GetTest().Enable {
		snapshot.SetTestHooks(maps.Clone(p.tests(made)))
	}
	history.Truncate(p.hr.GetTest().IgnoreFailures)
	p.hr.Status.History = history
	return nil
}

// later ends a pass; what remedies a failure goes on in another.
func (p *pass) later(ctx context.Context) (bus.Result, error) {
	if p.hr.Spec.Suspend {
		return p.run(ctx)
	}
	return bus.Result{Next: again}, nil
}

// muchLater ends a pass whose remedy, or uninstall, failed, which costs as much each time.
func (p *pass) muchLater(ctx context.Context) (bus.Result, error) {
	result, err := p.later(ctx)
	if result.Next == again {
		result.Next = retryWait
	}
	return result, err
}

// keepInventory puts a revision's objects into the status.
func (p *pass) keepInventory(made *record) error {
	runner := &release.Runner{Client: p.client, Manifests: &p.manifests}
	list, err := runner.Objects(made)
	if err != nil {
		return fmt.Errorf("build inventory of release %s: %w", fullName(made), err)
	}
	entries := &helmv2.ResourceInventory{Entries: []helmv2.ResourceRef{}}
	for _, e := range inventory.Of(list) {
		entries.Entries = append(entries.Entries, helmv2.ResourceRef{ID: e.ID, Version: e.Version})
	}
	p.hr.Status.Inventory = entries
	return nil
}

// inSync ends a pass over a release that is as it should be.
func (p *pass) inSync(ctx context.Context, g goal, made *record) (bus.Result, error) {
	if err := p.drift(ctx, made); err != nil {
		return bus.Result{}, err
	}
	s := &p.hr.Status
	s.ObservedGeneration = p.hr.Generation
	s.ObservedPostRenderersDigest, s.ObservedCommonMetadataDigest = g.wanted.PostRenderers, g.wanted.CommonMetadata
	s.LastAttemptedGeneration, s.LastAttemptedRevision = p.hr.Generation, g.wanted.ChartVersion
	s.LastAttemptedConfigDigest, s.LastAttemptedRevisionDigest = g.wanted.ConfigDigest, g.digest
	s.ClearFailures()
	p.restore()
	p.summarize()
	p.conditions().Remove(kube.ConditionReconciling)
	p.handled()
	if err := p.write(ctx); err != nil {
		return bus.Result{}, err
	}
	journal, err := p.journal(ctx)
	if err != nil {
		return bus.Result{}, err
	}
	about := journal.Applied(s.LastAttemptedRevision, g.head.RenderID)
	if !journal.Settled(about.Revision, about.RenderID) {
		if err := journal.Write(ctx, events.ApplySucceeded{Applied: about}); err != nil {
			return bus.Result{}, err
		}
	}
	return bus.Result{Next: p.interval()}, nil
}

// restore replaces what conditions say of attempts that the release has left behind.
func (p *pass) restore() {
	c := p.conditions()
	if meta.FindStatusCondition(p.hr.Status.Conditions, helmv2.RemediatedCondition) != nil {
		c.Remove(helmv2.RemediatedCondition)
	}
	latest := p.hr.Status.History.Latest()
	if latest == nil {
		return
	}
	released := meta.FindStatusCondition(p.hr.Status.Conditions, helmv2.ReleasedCondition)
	if released != nil && released.Status == metav1.ConditionTrue {
		c.Set(helmv2.ReleasedCondition, released.Status, released.Reason, released.Message) // of this generation too
		return
	}
	reason, verb := helmv2.UpgradeSucceededReason, release.Upgrade
	if latest.Version == 1 {
		reason, verb = helmv2.InstallSucceededReason, release.Install
	}
	c.Set(helmv2.ReleasedCondition, metav1.ConditionTrue, reason,
		fmt.Sprintf("Helm %s succeeded for release %s with chart %s", verb, latest.FullReleaseName(), latest.VersionedChartName()))
}

// stop ends the tries: only another input, or somebody who asks, helps.
func (p *pass) stop(ctx context.Context, next verdict.Next) (bus.Result, error) {
	p.summarize()
	c := p.conditions()
	c.Remove(kube.ConditionReconciling)
	c.Set(kube.ConditionStalled, metav1.ConditionTrue, next.Reason, next.Message)
	p.hr.Status.ObservedGeneration = p.hr.Generation
	p.handled()
	news := !meta.IsStatusConditionTrue(p.read.Status.Conditions, kube.ConditionStalled)
	if err := p.write(ctx); err != nil || !news {
		return bus.Result{Next: bus.Never}, err
	}
	p.tell(note{reason: next.Reason, message: next.Message, warning: true})
	return bus.Result{Next: bus.Never}, p.journalFailure(ctx, next.Reason, next.Message, true)
}

// buildFailed says that the chart could not be rendered, which fails the action it was
// rendered for without a trace in Helm's storage.
func (p *pass) buildFailed(ctx context.Context, f events.BuildFailed) (bus.Result, error) {
	message, stalled := f.Message, f.Stalled
	c := p.conditions()
	if f.Reason == helmv2.InstallFailedReason || f.Reason == helmv2.UpgradeFailedReason {
		verb := map[string]string{helmv2.InstallFailedReason: release.Install, helmv2.UpgradeFailedReason: release.Upgrade}[f.Reason]
		message = fmt.Sprintf("Helm %s failed for release %s/%s: %s", verb, p.hr.GetReleaseNamespace(), kube.ReleaseName(p.hr), f.Message)
		if meta.FindStatusCondition(p.hr.Status.Conditions, helmv2.ReleasedCondition) == nil || readyMessage(p.read) != kube.Short(message) {
			p.hr.Status.Failures++
		}
		c.Set(helmv2.ReleasedCondition, metav1.ConditionFalse, f.Reason, message)
	}
	return p.refuse(ctx, refusal{reason: f.Reason, message: message, stalled: stalled, retry: p.interval(), warn: true})
}

// summarize makes Ready say what the newest and highest-ranked of the other conditions says.
func (p *pass) summarize() {
	test := p.hr.GetTest()
	ignore := test.IgnoreFailures
	if remediation := p.hr.GetActiveRemediation(); remediation != nil {
		ignore = remediation.MustIgnoreTestFailures(test.IgnoreFailures)
	}
	var newest *metav1.Condition
	for _, kind := range []string{helmv2.RemediatedCondition, helmv2.TestSuccessCondition, helmv2.ReleasedCondition} {
		if kind == helmv2.TestSuccessCondition && (!test.Enable || ignore) {
			continue
		}
		c := meta.FindStatusCondition(p.hr.Status.Conditions, kind)
		if c != nil && (newest == nil || c.ObservedGeneration > newest.ObservedGeneration) {
			newest = c
		}
	}
	if newest == nil {
		return
	}
	status := newest.Status
	if newest.Type == helmv2.RemediatedCondition {
		status = metav1.ConditionFalse
	}
	c := p.conditions()
	if status == metav1.ConditionTrue {
		c.Remove(kube.ConditionStalled)
	}
	c.Set(kube.ConditionReady, status, newest.Reason, newest.Message)
}
