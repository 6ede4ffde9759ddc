package helmrelease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	fluxacl "github.com/fluxcd/pkg/apis/acl"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
)

// The waits that Flux's users know.
const (
	retryWait = 30 * time.Second
	// again is when a failed attempt goes on to what remedies it.
	again = time.Second
	// fresh is how long a new object may wait for its first render before that is said.
	fresh = 10 * time.Second
)

// The reasons of a HelmRelease that is not at its chart yet.
const (
	reasonDependency = "DependencyNotReady"
	reasonSource     = "SourceNotReady"
	reasonArtifact   = "ArtifactFailed"
	reasonExpression = "InvalidCELExpression"
)

// refusal is why a pass goes no further.
type refusal struct {
	reason, message string
	// stalled says that only another spec helps; else it is looked at again after retry.
	stalled bool
	retry   time.Duration
	// warn tells it as an Event.
	warn bool
}

// run brings an existing, active object up to date.
func (p *pass) run(ctx context.Context) (bus.Result, error) {
	if p.hr.Spec.Suspend { // what it did when that was asked for is over
		p.conditions().Remove(kube.ConditionReconciling)
		return bus.Result{Next: bus.Never}, p.write(ctx)
	}
	if f := p.unserved(); f != nil {
		return p.refuse(ctx, *f)
	}
	if p.moved() {
		result, done, err := p.leave(ctx)
		if err != nil || !done {
			return result, err
		}
	}
	if f, err := p.chart(ctx); err != nil || f != nil {
		return p.refuseOr(ctx, f, err)
	}
	if unborn, err := p.unborn(ctx); err != nil || unborn {
		return bus.Result{Next: fresh}, err
	}
	if err := p.connect(p.hr.GetStorageNamespace()); err != nil {
		return p.refuse(ctx, refusal{reason: "FactoryError", message: err.Error(), retry: retryWait, warn: true})
	}
	all, err := p.store.List(ctx, kube.ReleaseName(p.hr))
	if err != nil {
		return p.noStorage(ctx, err)
	}
	if result, begun, err := p.finish(ctx, all); err != nil || begun {
		return result, err
	}
	return p.pursue(ctx, all)
}

// pursue brings a release on which no action is under way to its newest render.
func (p *pass) pursue(ctx context.Context, all []*record) (bus.Result, error) {
	if f, err := p.dependencies(ctx); err != nil || f != nil {
		return p.refuseOr(ctx, f, err)
	}
	build, f, err := p.build(ctx)
	if err != nil || f != nil {
		return p.refuseOr(ctx, f, err)
	}
	switch build.State {
	case desired.Failed:
		return p.buildFailed(ctx, build.Failure)
	case desired.Refused:
		return p.refuse(ctx, refusal{reason: "BuildFailed", message: "the render was refused: " + build.Why, retry: retryWait, warn: true})
	case desired.Pending:
		return p.pending(ctx, all)
	case desired.Rendered:
	}
	if build.Head.Generation > p.hr.Generation { // the builder's watch is ahead of ours
		return bus.Result{}, fmt.Errorf("read HelmRelease %s/%s: %w", p.hr.Namespace, p.hr.Name, errLost)
	}
	rendered, closed, err := p.Renders.OpenRelease(ctx, p.identity(), build.Head.RenderName, build.Head.RenderID)
	switch {
	case errors.Is(err, desired.ErrNoRoom):
		return bus.Result{Next: cluster.BusyFor(err)}, nil
	case errors.Is(err, desired.ErrBroken):
		p.log.Warn("the render cannot be used, asking for it again", "error", err.Error())
		return bus.Result{Next: retryWait}, p.askBuilder(ctx)
	case err != nil:
		return bus.Result{}, err
	}
	defer closed()
	return p.settle(ctx, all, build.Head, rendered)
}

// noStorage says that it cannot be read what is released. With an account that never released anything, nothing is.
func (p *pass) noStorage(ctx context.Context, why error) (bus.Result, error) {
	if errors.Is(why, helmstore.ErrNoRoom) {
		return bus.Result{}, why
	}
	if apierrors.IsForbidden(why) && p.hr.Status.History.Latest() == nil {
		p.conditions().Set(helmv2.ReleasedCondition, metav1.ConditionFalse, helmv2.InstallFailedReason, fmt.Sprintf(
			"Helm install failed for release %s/%s: %s", p.hr.GetReleaseNamespace(), kube.ReleaseName(p.hr), why))
	}
	return p.refuse(ctx, refusal{reason: "FactoryError", message: why.Error(), retry: p.unreadable(why), warn: true})
}

// incomplete says that the revision to roll back to cannot be read. One that changed meanwhile is read anew.
func (p *pass) incomplete(ctx context.Context, why error) (bus.Result, error) {
	if ctx.Err() != nil || errors.Is(why, helmstore.ErrLost) {
		return bus.Result{}, why
	}
	return p.noStorage(ctx, why)
}

// unreadable is when Helm's storage is read again that could not be. One that is too large costs as much each time.
func (p *pass) unreadable(why error) time.Duration {
	if errors.Is(why, helmstore.ErrTooMuch) {
		return max(p.interval(), retryWait)
	}
	return retryWait
}

// moved says whether the spec names another release, or another place for it, than the one
// that was made.
func (p *pass) moved() bool {
	latest, s := p.hr.Status.History.Latest(), p.hr.Status
	return latest != nil && s.StorageNamespace != "" && (latest.Name != kube.ReleaseName(p.hr) ||
		latest.Namespace != p.hr.GetReleaseNamespace() || s.StorageNamespace != p.hr.GetStorageNamespace())
}

// leave uninstalls the release that the status names, then forgets it.
func (p *pass) leave(ctx context.Context) (bus.Result, bool, error) {
	result, done, err := p.uninstall(ctx)
	if err != nil || !done {
		return result, false, err
	}
	s := &p.hr.Status
	s.ClearHistory()
	s.ClearFailures()
	s.StorageNamespace, s.Inventory = "", nil
	return bus.Result{}, true, p.write(ctx)
}

func (p *pass) identity() seal.Identity {
	return seal.Identity{
		Cluster: p.Options.Cluster, Kind: "HelmRelease", Namespace: p.hr.Namespace, Name: p.hr.Name, UID: string(p.hr.UID),
	}
}

// unserved names what this version does not serve, and what makes no sense.
func (p *pass) unserved() *refusal {
	spec := p.hr.Spec
	var what string
	switch {
	case (spec.Chart == nil) == (spec.ChartRef == nil):
		return &refusal{reason: "InvalidChartReference", stalled: true, warn: true, message: "spec: give exactly one of chart and chartRef"}
	case spec.Install != nil && spec.Install.ServerSideApply != nil && !*spec.Install.ServerSideApply:
		what = "spec.install.serverSideApply: false"
	case spec.Upgrade != nil && spec.Upgrade.ServerSideApply == "disabled":
		what = "spec.upgrade.serverSideApply: disabled"
	case spec.Rollback != nil && spec.Rollback.ServerSideApply == "disabled":
		what = "spec.rollback.serverSideApply: disabled"
	default:
		if _, err := ignored(p.hr); err != nil {
			return &refusal{reason: "InvalidIgnoreRule", stalled: true, warn: true, message: err.Error()}
		}
		if _, err := health.Compile(p.CEL, p.hr.Spec.HealthCheckExprs); err != nil {
			return &refusal{reason: reasonExpression, stalled: true, warn: true, message: fmt.Sprintf("spec.healthCheckExprs: %s", err)}
		}
		return nil
	}
	return &refusal{reason: fluxmeta.FeatureGateDisabledReason, stalled: true, warn: true, message: what + " is not served by this version of Sluice"}
}

// build reads the source and the newest render of it. A source that the watch shows as it was is
// read again from the API server before the render is taken for another's.
func (p *pass) build(ctx context.Context) (desired.Build, *refusal, error) {
	kind, name := kube.ChartSource(p.hr)
	if p.Options.NoCrossNamespaceRefs && name.Namespace != p.hr.Namespace {
		return desired.Build{}, &refusal{reason: fluxacl.AccessDeniedReason, stalled: true, warn: true, message: fmt.Sprintf(
			"can't access '%s/%s', cross-namespace references have been blocked", kind, name)}, nil
	}
	if kind == sourcev1.ExternalArtifactKind && !p.Options.ExternalArtifacts {
		return desired.Build{}, &refusal{reason: fluxacl.AccessDeniedReason, stalled: true, warn: true, message: fmt.Sprintf(
			"can't access '%s/%s', ExternalArtifact feature gate is disabled", kind, name)}, nil
	}
	log, err := p.Bus.Open(ctx, events.BuildSubject(p.Options.Cluster, p.key))
	if err != nil {
		return desired.Build{}, nil, fmt.Errorf("read newest render: %w", err)
	}
	build, f, err := p.judge(ctx, log, kind, name, false)
	if p.Watched(kind) && err == nil && (f != nil || build.State != desired.Rendered) {
		return p.judge(ctx, log, kind, name, true)
	}
	return build, f, err
}

func (p *pass) judge(ctx context.Context, log *bus.Log, kind string, name types.NamespacedName, live bool) (desired.Build, *refusal, error) {
	source, f, err := p.source(ctx, kind, name, live)
	if err != nil || f != nil {
		return desired.Build{}, f, err
	}
	newest, ok := log.Last()
	if !ok {
		return desired.Build{State: desired.Pending}, nil, nil
	}
	spec, err := kube.ReleaseDigest(p.hr)
	if err != nil {
		return desired.Build{}, nil, err
	}
	build, err := desired.JudgeOf(ctx, p.Keys, p.identity(), spec, source, newest)
	return build, nil, err
}

// unborn says whether the object is new, its chart is there and its first render is on its way: there is
// nothing to do but to wait for that.
func (p *pass) unborn(ctx context.Context) (bool, error) {
	kind, name := kube.ChartSource(p.hr)
	if p.onDemand() || p.hr.Status.StorageNamespace != "" || !p.Watched(kind) || p.Options.NoCrossNamespaceRefs && name.Namespace != p.hr.Namespace || time.Since(p.hr.CreationTimestamp.Time) >= fresh {
		return false, nil
	}
	if _, f, err := p.source(ctx, kind, name, false); err != nil || f != nil {
		return false, err
	}
	log, err := p.Bus.Open(ctx, events.BuildSubject(p.Options.Cluster, p.key))
	if err != nil {
		return false, fmt.Errorf("read newest render: %w", err)
	}
	_, ok := log.Last()
	return !ok, nil
}

// onDemand says whether the builder renders only what it is asked for.
func (p *pass) onDemand() bool { return len(p.hr.Spec.DependsOn) > 0 || p.hr.Spec.KubeConfig != nil }

// pending waits for the builder, and asks it when it waits to be asked.
func (p *pass) pending(ctx context.Context, all []*record) (bus.Result, error) {
	p.progressing("Fulfilling prerequisites")
	if err := p.write(ctx); err != nil {
		return bus.Result{}, err
	}
	if !p.onDemand() {
		return bus.Result{Next: retryWait}, nil
	}
	return p.ask(ctx, wantedAfter(all))
}

// wantedAfter is the render that stored revisions ask for.
func wantedAfter(all []*record) events.RenderWanted {
	wanted := events.RenderWanted{Action: render.Install, Revision: nextRevision(all)}
	if len(all) > 0 && all[len(all)-1].Info.Status != "uninstalled" {
		wanted.Action = render.Upgrade
	}
	return wanted
}

// ask writes into the journal which render is needed, and has the builder read it.
func (p *pass) ask(ctx context.Context, wanted events.RenderWanted) (bus.Result, error) {
	journal, err := p.journal(ctx)
	if err != nil {
		return bus.Result{}, err
	}
	err = journal.Write(ctx, events.ApplyProgressing{
		Applied: journal.Applied(p.hr.Status.LastAttemptedRevision, ""), Wanted: &wanted,
		Message: fmt.Sprintf("Waiting for the render of revision %d (%s)", wanted.Revision, wanted.Action),
	})
	if err != nil {
		return bus.Result{}, err
	}
	return bus.Result{Next: retryWait}, p.askBuilder(ctx)
}

func (p *pass) askBuilder(ctx context.Context) error {
	return p.Bus.Check(ctx, bus.Target{Stage: events.StageBuild, Key: p.key, Note: bus.Note{Reason: "wanted"}})
}

func (p *pass) journal(ctx context.Context) (*report.Journal, error) {
	return report.OpenKey(ctx, p.Bus, p.Options.Cluster, p.key, string(p.hr.UID))
}

// progressing says that work is under way.
func (p *pass) progressing(message string) {
	c := p.conditions()
	c.Remove(kube.ConditionStalled)
	c.Set(kube.ConditionReconciling, metav1.ConditionTrue, kube.ReasonProgressing, message)
	c.Set(kube.ConditionReady, metav1.ConditionUnknown, kube.ReasonProgressing, message)
}

func (p *pass) refuseOr(ctx context.Context, f *refusal, err error) (bus.Result, error) {
	if err != nil {
		return bus.Result{}, err
	}
	return p.refuse(ctx, *f)
}

// refuse ends a pass that goes no further.
func (p *pass) refuse(ctx context.Context, f refusal) (bus.Result, error) {
	c, before := p.conditions(), readyMessage(p.read)
	if f.stalled {
		c.Stall(f.reason, f.message)
		p.hr.Status.ObservedGeneration = p.hr.Generation
	} else {
		c.Remove(kube.ConditionStalled)
		c.Set(kube.ConditionReconciling, metav1.ConditionTrue, kube.ReasonProgressing, f.message)
		c.Set(kube.ConditionReady, metav1.ConditionFalse, f.reason, f.message)
	}
	p.handled()
	if err := p.write(ctx); err != nil {
		return bus.Result{}, err
	}
	next := f.retry
	if f.stalled {
		next = bus.Never
	}
	if before == kube.Short(f.message) { // it was told
		return bus.Result{Next: next}, nil
	}
	if f.warn {
		p.tell(note{reason: f.reason, message: f.message, warning: true})
	}
	return bus.Result{Next: next}, p.journalFailure(ctx, f.reason, f.message, f.stalled)
}

func readyMessage(o interface{ GetConditions() []metav1.Condition }) string {
	for _, c := range o.GetConditions() {
		if c.Type == kube.ConditionReady {
			return c.Message
		}
	}
	return ""
}

// handled notes that the newest requests have been answered.
func (p *pass) handled() {
	if at, ok := p.hr.Annotations[kube.RequestedAt]; ok {
		p.hr.Status.SetLastHandledReconcileRequest(at)
	}
}

// interval is when the object is looked at again although nothing happened.
func (p *pass) interval() time.Duration {
	every := p.hr.Spec.Interval.Duration
	spread := (2*rand.Float64() - 1) * p.Options.Jitter //nolint:gosec // spreads load, guards nothing
	return every + time.Duration(spread*float64(every))
}
