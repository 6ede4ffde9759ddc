package handle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/budget"
	"github.com/sluice-gitops/sluice/services/applier/internal/depend"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
	"github.com/sluice-gitops/sluice/services/applier/internal/drift"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"github.com/sluice-gitops/sluice/services/applier/internal/plan"
	"github.com/sluice-gitops/sluice/services/applier/internal/refusal"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

func nameOf(ks *kustomizev1.Kustomization) types.NamespacedName {
	return client.ObjectKeyFromObject(ks)
}

// refuse returns why an object can never be applied as it is written.
func refuse(ks *kustomizev1.Kustomization, o Options) *status.Failure {
	if d := ks.Spec.Decryption; d != nil && d.ServiceAccountName != "" {
		return &status.Failure{
			Reason: status.ReasonGateDisabled,
			Message: "spec.decryption.serviceAccountName is not served, with or without the feature gate ObjectLevelWorkloadIdentity: " +
				"this version of Sluice uses age and PGP keys: give them in spec.decryption.secretRef",
			Stalled: true,
		}
	}
	if len(ks.Name) > validation.LabelValueMaxLength {
		return &status.Failure{
			Reason: status.ReasonFailed,
			Message: fmt.Sprintf("the name has %d characters; every object is labelled with it, and a label holds at most %d: use a shorter name",
				len(ks.Name), validation.LabelValueMaxLength),
			Stalled: true,
		}
	}
	if _, err := ignore.Compile(ks); err != nil {
		return &status.Failure{Reason: status.ReasonInvalidIgnore, Message: err.Error(), Stalled: true}
	}
	if _, err := drift.ModeOf(ks); err != nil {
		return &status.Failure{Reason: status.ReasonInvalidDrift, Message: err.Error(), Stalled: true}
	}
	if _, _, err := budget.Of(ks); err != nil {
		return &status.Failure{Reason: status.ReasonInvalidBudget, Message: err.Error(), Stalled: true}
	}
	return denied(ks, o)
}

// misconfigured is the failure of an object whose expressions cannot be compiled.
func misconfigured(err error) status.Failure {
	return status.Failure{
		Reason: status.ReasonInvalidCEL, Stalled: true,
		Message: fmt.Sprintf("Reconciliation failed terminally due to configuration error: %s", err),
	}
}

// denied returns why an object may not use its source.
func denied(ks *kustomizev1.Kustomization, o Options) *status.Failure {
	kind, name := kube.SourceOf(ks)
	var why string
	switch {
	case o.NoCrossNamespaceRefs && name.Namespace != ks.Namespace:
		why = "cross-namespace references have been blocked"
	case !o.ExternalArtifacts && kind == sourcev1.ExternalArtifactKind:
		why = "ExternalArtifact feature gate is disabled"
	default:
		return nil
	}
	return &status.Failure{
		Reason: status.ReasonAccessDenied, Stalled: true,
		Message: fmt.Sprintf("can't access '%s/%s', %s", kind, name, why),
	}
}

// noSource reports a source without artifact. What runs is held where it is. A source
// that exists gets its artifact in its own time, and says itself what is in the way:
// that is waited for as for a dependency, in Flux's words, and is no failure.
func (p *pass) noSource(ctx context.Context) (bus.Result, error) {
	if err := p.hold(ctx); err != nil {
		return bus.Result{}, err
	}
	f := status.Failure{Reason: status.ReasonArtifactFailed, Message: p.source.Missing}
	if p.source.Absent {
		return p.fail(ctx, status.Attempt{}, f, p.ks.GetRetryInterval())
	}
	return bus.Result{Next: retryBuild}, p.wait(ctx, f, report.Note{Reason: f.Reason, Message: f.Message})
}

// wait writes what is waited for, and tells people when that is news.
func (p *pass) wait(ctx context.Context, f status.Failure, n report.Note) error {
	before := p.ks
	written, err := p.write(ctx, status.Attempt{}, f)
	if err == nil && written != before {
		p.Recorder.Tell(written, n)
	}
	return err
}

// noTarget reports that there is no cluster to apply to. A dependency comes first: it
// may be what makes the cluster.
func (p *pass) noTarget(ctx context.Context) (bus.Result, error) {
	a := p.attempt()
	ready, result, err := p.dependencies(ctx, a)
	if err != nil || !ready {
		return result, err
	}
	a.RenderID = "" // no attempt was made, so none is recorded and then waited for
	f := status.Failure{Reason: status.ReasonFailed, Message: p.lost.Error()}
	if !p.lost.Disabled {
		return p.fail(ctx, a, f, p.ks.GetRetryInterval())
	}
	f.Reason, f.Stalled = status.ReasonGateDisabled, true
	return p.fail(ctx, a, f, bus.Never)
}

// pending waits for the builder. A build is usually a moment away, so the first
// look writes nothing; a long wait is shown, and the builder is asked again.
func (p *pass) pending(ctx context.Context) (bus.Result, error) {
	if err := p.hold(ctx); err != nil {
		return bus.Result{}, err
	}
	token := fmt.Sprintf("%s/%d/%s", p.ks.UID, p.ks.Generation, p.source.Digest)
	waited := p.patience.waited(p.check.Key, token, p.started)
	if waited < showBuildAfter {
		return bus.Result{Next: showBuildAfter + time.Second}, nil
	}
	if waited >= retryBuild {
		p.askBuilder(ctx, "overdue")
	}
	next := p.ks.DeepCopy()
	status.Progress(next, fmt.Sprintf("Waiting for the build of revision %s: %s", p.source.Revision, p.build.Why))
	_, err := p.Writer.Status(ctx, p.ks, next)
	return bus.Result{Next: retryBuild}, err
}

// showBuildAfter is how long a build may take before the status says so.
const showBuildAfter = 2 * time.Second

// buildFailed reports the builder's answer. What runs is held where it is.
func (p *pass) buildFailed(ctx context.Context) (bus.Result, error) {
	p.patience.forget(p.check.Key)
	if err := p.hold(ctx); err != nil {
		return bus.Result{}, err
	}
	f := p.build.Failure
	a := status.Attempt{Revision: f.Revision, OriginRevision: f.OriginRevision, Started: p.started}
	return p.fail(ctx, a, status.Failure{Reason: f.Reason, Message: f.Message, Stalled: f.Stalled}, p.ks.GetRetryInterval())
}

// refused reports a build that no builder with the key has written.
func (p *pass) refused(ctx context.Context) (bus.Result, error) {
	if err := p.hold(ctx); err != nil {
		return bus.Result{}, err
	}
	p.askBuilder(ctx, "refused")
	return p.fail(ctx, status.Attempt{Started: p.started}, status.Failure{
		Reason:  status.ReasonArtifactFailed,
		Message: "refused the newest build event, it is not authentic: " + p.build.Why,
	}, retryBuild)
}

// broken reports a render that cannot be used and asks for it to be built again.
func (p *pass) broken(ctx context.Context, a status.Attempt, why error) (bus.Result, error) {
	p.askBuilder(ctx, "render")
	a.RenderID = "" // nothing was reached that could be recorded
	return p.fail(ctx, a, status.Failure{
		Reason:  status.ReasonArtifactFailed,
		Message: fmt.Sprintf("the render of revision %s is missing or damaged and is being built again: %s", a.Revision, why),
	}, retryBroken)
}

const retryBroken = 10 * time.Second

// askBuilder asks for a build. When the bus does not take it, the next look asks
// again: what is wrong must reach the status first.
func (p *pass) askBuilder(ctx context.Context, reason string) {
	target := bus.Target{Stage: events.StageBuild, Key: p.check.Key, Note: bus.Note{Reason: reason}}
	if err := p.Bus.Check(ctx, target); err != nil {
		p.log.Warn("cannot ask for a build", "error", err.Error())
	}
}

// dependencies reports what the object waits for; ready is true when nothing.
func (p *pass) dependencies(ctx context.Context, a status.Attempt) (ready bool, result bus.Result, err error) {
	confirm := p.check.Note.Reason == plan.ReasonDependency
	v, err := p.Depend.Check(ctx, p.ks, p.source.Revision, confirm)
	invalid := errors.Is(err, depend.ErrInvalid)
	if !invalid && (err != nil || v.Ready()) {
		return v.Ready(), bus.Result{}, err
	}
	if err := p.hold(ctx); err != nil {
		return false, bus.Result{}, err
	}
	if invalid {
		result, err := p.fail(ctx, status.Attempt{}, misconfigured(err), bus.Never)
		return false, result, err
	}
	if v.Behind && status.Ready(p.ks) && p.patience.waited(p.check.Key, "dependency "+a.Revision, p.started) < retryDependency {
		return false, bus.Result{Next: retryDependency}, nil // it is coming; do not flap
	}
	f := status.Failure{Reason: status.ReasonDependency, Message: v.Message, Stalled: v.Cycle}
	err = p.wait(ctx, f, report.Note{
		Reason: f.Reason, Revision: a.Revision, OriginRevision: a.OriginRevision,
		Message: fmt.Sprintf("Dependencies do not meet ready condition, retrying in %s: %s", retryDependency, v.Message),
	})
	return false, bus.Result{Next: retryDependency}, err
}

// write writes a failure that was found before anything was claimed.
func (p *pass) write(ctx context.Context, a status.Attempt, f status.Failure) (*kustomizev1.Kustomization, error) {
	next := p.ks.DeepCopy()
	status.Fail(next, a, f, time.Now())
	written, err := p.Writer.Status(ctx, p.ks, next)
	if err != nil {
		return nil, err
	}
	return written, nil
}

// fail ends the pass with a failure and says so, once.
func (p *pass) fail(ctx context.Context, a status.Attempt, f status.Failure, next time.Duration) (bus.Result, error) {
	written, err := p.write(ctx, a, f)
	if err != nil {
		return bus.Result{}, err
	}
	if written == p.ks {
		return bus.Result{Next: next}, nil
	}
	return bus.Result{Next: next}, p.tellFailure(ctx, written, a, f, nil)
}

// took are durations, in which the same failure differs each time.
var took = regexp.MustCompile(`\b(\d+(\.\d+)?(h|m|s|ms|µs|ns))+\b`)

// maxFailure bounds, in bytes, what is told of a failure: as much as a condition holds. What a remote server says may be part of it.
const maxFailure = 16 << 10

// lasting is what stays the same of a failure that is tried again: not what was
// changed before it, nor how long it took.
func lasting(f status.Failure) string {
	text := f.Message
	if f.Cause != nil {
		text = f.Cause.Error()
	}
	return took.ReplaceAllString(refusal.Cut(text, maxFailure), "")
}

// tellFailure reports a failure whose status is written. The log has it once, until
// it changes; Events count how often, and the journal ends with every attempt's outcome.
func (p *pass) tellFailure(ctx context.Context, ks *kustomizev1.Kustomization, a status.Attempt, f status.Failure, changes []events.Change) error {
	f.Message = refusal.Cut(f.Message, maxFailure)
	level := slog.LevelError
	switch {
	case !p.said.News(p.check.Key, f.Reason+" "+lasting(f)):
		level = slog.LevelDebug
	case p.build.State == desired.Failed: // the builder logs it as an error
		level = slog.LevelInfo
	}
	p.log.Log(ctx, level, "pass failed", "reason", f.Reason, "error", f.Message, "revision", a.Revision, "stalled", f.Stalled)
	message := f.Message
	if len(message) > report.MaxMessage && f.Cause != nil {
		message = engine.Brief(f.Cause, report.MaxMessage)
	}
	p.Recorder.Tell(ks, report.Note{
		Reason: f.Reason, Message: message, Revision: a.Revision, OriginRevision: a.OriginRevision, Warning: true,
	})
	return p.journal.Write(ctx, events.ApplyFailed{
		Applied: p.journal.Applied(a.Revision, a.RenderID),
		Reason:  f.Reason, Message: f.Message, Stalled: f.Stalled, Changes: changes,
	})
}
