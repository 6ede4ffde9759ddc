package helmrelease

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	helmrelease "helm.sh/helm/v3/pkg/release"
	helmtime "helm.sh/helm/v3/pkg/time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
	"github.com/sluice-gitops/sluice/services/applier/internal/verdict"
)

// release begins an install or an upgrade, once it is rendered for just that and its definitions are served.
func (p *pass) release(ctx context.Context, all []*record, g goal, next verdict.Next) (bus.Result, error) {
	action := string(next.Kind)
	wanted := events.RenderWanted{Action: action, Revision: verdict.Revision(all)}
	if have := g.head.Details; have[seal.DetailAction] != wanted.Action || have[seal.DetailRevision] != strconv.Itoa(wanted.Revision) {
		if err := p.announce(ctx, fmt.Sprintf("Rendering for %s of revision %d", wanted.Action, wanted.Revision)); err != nil {
			return bus.Result{}, err
		}
		return p.ask(ctx, wanted)
	}
	made := &record{Release: g.render.Release}
	made.Labels = map[string]string{originName: p.hr.Name, originNamespace: p.hr.Namespace}
	if len(all) == 0 { // what the status remembers went with the revisions
		p.hr.Status.ClearHistory()
	} else if made.Info.FirstDeployed = all[len(all)-1].Info.FirstDeployed; made.Info.FirstDeployed.IsZero() { // a status needs one
		made.Info.FirstDeployed = helmtime.Now()
	}
	run := helmstore.Run{
		Action: action, Input: inputOf(g.head), Generation: p.hr.Generation, OCIDigest: g.digest, Forget: next.Forget,
		PostRenderers: g.wanted.PostRenderers, CommonMetadata: g.wanted.CommonMetadata,
	}
	if result, served, err := p.define(ctx, all, made, run, g.render.CRDs); err != nil || !served {
		return result, err
	}
	p.hr.Status.StorageNamespace = p.hr.GetStorageNamespace()
	return p.begin(ctx, all, made, run)
}

// announce says in the status that an action is about to begin. A request to force it stays open until the storage has the
// action: should the applier be killed before, the next one begins it.
func (p *pass) announce(ctx context.Context, message string) error {
	p.progressing(message)
	forced := p.hr.Status.LastHandledForceAt
	p.hr.Status.LastHandledForceAt = p.read.Status.LastHandledForceAt
	err := p.write(ctx)
	p.hr.Status.LastHandledForceAt = forced
	return err
}

// inputOf identifies what a head was rendered from, whatever for: of values what they come to, not how they are written.
func inputOf(h seal.Head) string {
	values := h.Details[seal.DetailConfig]
	if values == "" { // an earlier version rendered it
		values = h.Details["inputs"]
	}
	return strings.Join([]string{h.SourceDigest, h.SpecDigest, values}, " ")
}

// rolledBack is the revision that goes back to an earlier one.
func rolledBack(to *record, revision int) *record {
	again := *to.Release
	info := *to.Info
	info.Description = fmt.Sprintf("Rollback to %d", to.Version)
	info.Status = helmrelease.StatusPendingRollback
	again.Info, again.Version = &info, revision
	again.Hooks = make([]*helmrelease.Hook, len(to.Hooks))
	for i, h := range to.Hooks {
		hook := *h
		hook.LastRun = helmrelease.HookExecution{}
		again.Hooks[i] = &hook
	}
	return &record{Release: &again}
}

// foretell puts into the status' history what has to be known of an action whatever becomes of its revision: of an install,
// or of an upgrade that takes over what others made, should the spec name another before this one is made; of an upgrade whose
// revision the status knows already, since somebody deleted that, which else is taken for another's; of an uninstall
// that remedies a failure once the revision is gone.
func (p *pass) foretell(made *record, all []*record, run helmstore.Run) error {
	latest := p.hr.Status.History.Latest()
	switch {
	case run.Action == release.Install:
		made.Info.Status, made.Info.LastDeployed = helmrelease.StatusPendingInstall, helmtime.Now()
		made.Info.FirstDeployed = made.Info.LastDeployed
		return p.chronicle(made, all, helmv2.ReleaseActionInstall)
	case run.Action == release.Upgrade && (latest == nil || latest.Targets(made.Name, made.Namespace, made.Version)):
		made.Info.Status, made.Info.LastDeployed = helmrelease.StatusPendingUpgrade, helmtime.Now()
		return p.chronicle(made, all, helmv2.ReleaseActionUpgrade)
	case run.Action == release.Uninstall && !run.Forget:
		return p.chronicle(made, all, helmv2.ReleaseActionUninstallRemediation)
	}
	return nil
}

// begin stores the revision as pending and takes the first step of an action. That it is under way is written to the
// status first, unless the action is likely to be over before anybody looks.
func (p *pass) begin(ctx context.Context, all []*record, made *record, run helmstore.Run) (bus.Result, error) {
	runner, err := p.runner(run.Action)
	if err != nil {
		return bus.Result{}, err
	}
	run.Owner, run.UID, run.ForcedAt = p.hr.Namespace+"/"+p.hr.Name, string(p.hr.UID), p.hr.Status.LastHandledForceAt
	if err := p.attempted(made, run); err != nil {
		return bus.Result{}, err
	}
	if err := p.foretell(made, all, run); err != nil {
		return bus.Result{}, err
	}
	message := textRunning(run.Action, runner.Options.Timeout)
	if !p.quick(run.Action) {
		if err := p.announce(ctx, message); err != nil {
			return bus.Result{}, err
		}
	}
	if run.Action == release.Install && p.hr.GetInstall().CreateNamespace {
		if err := runner.CreateNamespace(ctx, made.Namespace); err != nil {
			return p.failed(ctx, all, made, run.Action, err)
		}
	}
	if err := runner.Begin(ctx, made, run); err != nil {
		if release.Transient(err) {
			return bus.Result{}, err
		}
		return p.failed(ctx, nil, made, run.Action, err) // the storage has nothing of it
	}
	if run.Action != release.Uninstall && run.Action != release.Test {
		all = append(all, made)
		p.began()
	}
	journal, err := p.journal(ctx)
	if err != nil {
		return bus.Result{}, err
	}
	if err := journal.Write(ctx, events.ApplyProgressing{Applied: journal.Applied(p.hr.Status.LastAttemptedRevision, ""), Message: message}); err != nil {
		return bus.Result{}, err
	}
	return p.step(ctx, runner, made, all)
}
