package helmrelease

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	helmchart "helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
	"github.com/sluice-gitops/sluice/services/applier/internal/verdict"
)

type record = helmstore.Record

func nextRevision(all []*record) int { return verdict.Revision(all) }

// goal is what the newest render asks for.
type goal struct {
	head   seal.Head
	render render.Release
	wanted verdict.Wanted
	// digest is the OCI digest of the chart, when it comes from an OCIRepository.
	digest string
	forced bool
}

// settle finds the least that makes the release be at its newest render, and does it.
func (p *pass) settle(ctx context.Context, all []*record, head seal.Head, rendered render.Release) (bus.Result, error) {
	g, err := p.goal(head, rendered.Chart.Metadata, rendered.Config)
	if err != nil {
		return bus.Result{}, err
	}
	g.render, g.forced = rendered, helmv2.ShouldHandleForceRequest(p.hr)
	p.head = &head
	p.resetCounters(g)
	state, why, err := verdict.Of(p.hr, all, g.wanted)
	if err != nil {
		return bus.Result{}, err
	}
	decide := func() (verdict.Next, error) { return verdict.For(p.hr, state, why, all, g.forced, time.Now()) }
	next, err := decide()
	if err == nil && next.To != nil && next.To.Outline {
		if err := p.store.Complete(ctx, next.To); err != nil {
			return p.incomplete(ctx, err)
		}
		if next, err = decide(); err == nil && next.To != nil && next.To.Outline { // each would have to be read, and kept
			return p.incomplete(ctx, fmt.Errorf("release %s/%s: more than one Secret says that it is revision %d, to which to roll back: delete what Helm did not store",
				p.hr.GetReleaseNamespace(), next.To.Name, next.To.Version))
		}
	}
	if err != nil {
		return bus.Result{}, err
	}
	if p.reinstalls(state, next, all, g) {
		next = verdict.Next{Kind: verdict.Uninstall, Message: why, Forget: true}
	}
	p.log.Debug("release judged", "state", string(state), "why", why, "next", string(next.Kind))
	return p.act(ctx, all, g, next)
}

// goal is what a render of a chart with values asks for.
func (p *pass) goal(head seal.Head, chart *helmchart.Metadata, values map[string]any) (goal, error) {
	g := goal{head: head}
	config, err := verdict.ConfigDigest(values)
	if err != nil {
		return g, err
	}
	post, metadata, err := specDigests(p.hr)
	if err != nil {
		return g, err
	}
	g.wanted = verdict.Wanted{
		ChartName: chart.Name, ChartVersion: chart.Version,
		ConfigDigest: config, PostRenderers: post, CommonMetadata: metadata,
	}
	if kind, _ := kube.ChartSource(p.hr); kind == sourcev1.OCIRepositoryKind {
		if _, digest, ok := strings.Cut(head.Revision, "@"); ok {
			g.digest = digest
		}
	}
	return g, nil
}

// specDigests are the digests of the parts of a spec that a release is made with beside chart
// and values; empty for what it does not have.
func specDigests(hr *helmv2.HelmRelease) (post, metadata string, err error) {
	post, err = verdict.SpecDigest(hr.Spec.PostRenderers, len(hr.Spec.PostRenderers) == 0)
	if err == nil {
		metadata, err = verdict.SpecDigest(hr.Spec.CommonMetadata, hr.Spec.CommonMetadata == nil)
	}
	return post, metadata, err
}

// resetCounters forgets failures that were of other inputs, or that somebody asked to forget.
func (p *pass) resetCounters(g goal) {
	s := &p.hr.Status
	reset := helmv2.ShouldHandleResetRequest(p.hr)
	if reset || s.LastAttemptedGeneration != p.hr.Generation || s.LastAttemptedRevision != g.wanted.ChartVersion ||
		s.LastAttemptedRevisionDigest != g.digest || s.LastAttemptedConfigDigest != g.wanted.ConfigDigest {
		s.ClearFailures()
	}
}

// reinstalls says whether another chart takes the place of the release instead of upgrading it. The uninstall that this
// begins with is begun again until it succeeds, as long as that is wanted: else an upgrade makes anew what it deleted.
func (p *pass) reinstalls(state verdict.State, next verdict.Next, all []*record, g goal) bool {
	if len(all) == 0 || all[len(all)-1].Chart.Metadata.Name == g.wanted.ChartName ||
		p.hr.GetUpgrade().GetChartNameChangeStrategy() == helmv2.ChartNameChangeStrategyInPlaceUpdate {
		return false
	}
	if ours := p.ours(all); ours != nil && ours.Run.Action == release.Uninstall && ours.Run.Forget && ours.Info.Status != helmrelease.StatusUninstalled {
		return true
	}
	return state == verdict.OutOfSync && next.Kind == verdict.Upgrade
}

// act does what was decided.
func (p *pass) act(ctx context.Context, all []*record, g goal, next verdict.Next) (bus.Result, error) {
	switch next.Kind {
	case verdict.Nothing:
		return p.inSync(ctx, g, all[len(all)-1])
	case verdict.Install, verdict.Upgrade:
		return p.release(ctx, all, g, next)
	case verdict.Rollback:
		return p.begin(ctx, all, rolledBack(next.To, verdict.Revision(all)), helmstore.Run{Action: release.Rollback, To: next.To.Version})
	case verdict.Uninstall:
		return p.begin(ctx, all, all[len(all)-1], helmstore.Run{Action: release.Uninstall, Forget: next.Forget})
	case verdict.Test:
		return p.begin(ctx, all, all[len(all)-1], helmstore.Run{Action: release.Test})
	case verdict.Unlock:
		return p.unlock(ctx, all[len(all)-1])
	case verdict.Wait:
		p.summarize()
		return bus.Result{Next: next.After}, p.write(ctx)
	case verdict.Stop:
		return p.stop(ctx, next)
	}
	return bus.Result{}, fmt.Errorf("release %s/%s: %q is nothing to do", p.hr.Namespace, p.hr.Name, next.Kind)
}

// ours returns the newest revision if an action of this object is working on it, or made it. That the storage
// says so proves nothing: the store has verified it.
func (p *pass) ours(all []*record) *record {
	if len(all) == 0 || all[len(all)-1].Run == nil {
		return nil
	}
	return all[len(all)-1]
}

// goOn takes the next step of an action, unless something newer is wanted.
func (p *pass) goOn(ctx context.Context, made *record, all []*record) (bus.Result, error) {
	p.ahead.take(made)
	if made.Run.Since.Before(p.Began) { // its time begins anew
		made.Run.Since = time.Now().UTC()
	}
	runner, err := p.runner(made.Run.Action)
	if err != nil {
		return bus.Result{}, err
	}
	if err := p.attempted(made, *made.Run); err != nil {
		return bus.Result{}, err
	}
	newer, err := p.superseded(ctx, made)
	if err != nil {
		return bus.Result{}, err
	}
	if newer && runner.Untouched(made) { // what follows is an install again
		if err := p.store.Delete(ctx, made); err != nil {
			return p.hindrance(ctx, made.Run.Action, err)
		}
		return p.run(ctx)
	}
	if newer {
		done, err := runner.Supersede(ctx, made)
		if err != nil {
			return p.hindrance(ctx, made.Run.Action, err)
		}
		if done {
			return p.overtaken(ctx, made, all)
		}
	}
	return p.step(ctx, runner, made, all)
}

// overtaken says that an action ended because something newer is wanted.
func (p *pass) overtaken(ctx context.Context, made *record, all []*record) (bus.Result, error) {
	p.tell(note{reason: "HealthCheckCanceled", message: fmt.Sprintf("Release %s superseded before it was ready", fullName(made))})
	if err := p.forget(made); err != nil {
		return bus.Result{}, err
	}
	return p.remember(ctx, made, all, p.hr.Status.LastAttemptedReleaseAction, p.run)
}

// forget leaves in the history of what an upgrade found to be other than the status knew it only what the upgrade makes.
func (p *pass) forget(made *record) error {
	if !made.Run.Forget || made.Run.Action != release.Upgrade {
		return nil
	}
	p.hr.Status.ClearHistory()
	return p.chronicle(made, nil, helmv2.ReleaseActionUpgrade)
}

// conclude says what came of an action that has ended, when whoever ended it could not: it died, or the
// object was written meanwhile.
func (p *pass) conclude(ctx context.Context, made *record, all []*record) (bus.Result, error) {
	if err := p.attempted(made, *made.Run); err != nil {
		return bus.Result{}, err
	}
	if err := p.forget(made); err != nil {
		return bus.Result{}, err
	}
	switch {
	case made.Run.Failure != "":
		p.lines = made.Run.Log
		return p.failed(ctx, all, made, made.Run.Action, errors.New(made.Run.Failure))
	case made.Info.Status == helmrelease.StatusFailed:
		return p.overtaken(ctx, made, all)
	}
	return p.succeeded(ctx, all, made, made.Run.Action)
}

// superseded says whether there is a render of other inputs than those of the action. A suspended object wants nothing.
func (p *pass) superseded(ctx context.Context, made *record) (bool, error) {
	if made.Run.Input == "" || p.hr.Spec.Suspend {
		return false, nil
	}
	build, refused, err := p.build(ctx)
	if err != nil || refused != nil || build.Head.RenderID == "" {
		return false, err
	}
	if inputOf(build.Head) != made.Run.Input {
		return true, nil
	}
	p.head = &build.Head
	return false, nil
}

// step takes one step of an action and says what came of it; that it is still under way, once that lasts.
func (p *pass) step(ctx context.Context, runner *release.Runner, made *record, all []*record) (bus.Result, error) {
	action, began := made.Run.Action, made.Run.Since
	p.forgets = made.Run.Forget
	if err := p.forget(made); err != nil {
		return bus.Result{}, err
	}
	progress, wait, err := p.advance(ctx, began, stepsOf(runner, made, all))
	if failure := p.asFailure(err); failure != nil {
		p.took(began)
		return p.failed(ctx, all, made, action, failure)
	}
	if err == nil && progress.Done {
		p.took(began)
		return p.succeeded(ctx, all, made, action)
	}
	if progress.Ahead {
		p.ahead.put(made)
	}
	if hindered(ctx, err) {
		return p.hindrance(ctx, action, err)
	}
	left := brief - time.Since(began)
	if left <= 0 && !errors.Is(err, helmstore.ErrLost) {
		p.progressing(textRunning(action, runner.Options.Timeout) + textMeets(err))
		if failed := p.write(ctx); failed != nil {
			return bus.Result{}, errors.Join(err, failed)
		}
	}
	if left > 0 && !meta.IsStatusConditionTrue(p.hr.Status.Conditions, kube.ConditionReconciling) {
		wait = min(wait, left)
	}
	return bus.Result{Next: wait}, err
}

// stepsOf are the steps of an action.
func stepsOf(runner *release.Runner, made *record, all []*record) func(context.Context) (release.Progress, error) {
	return func(ctx context.Context) (release.Progress, error) { return runner.Step(ctx, made, all) }
}
