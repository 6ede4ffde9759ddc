package helmrelease

import (
	"context"
	"errors"
	"fmt"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	helmrelease "helm.sh/helm/v3/pkg/release"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
	"github.com/sluice-gitops/sluice/services/applier/internal/verdict"
)

// remove carries out the end of an object: its release, its HelmChart, its finalizer. A
// suspended one leaves both where they are.
func (p *pass) remove(ctx context.Context) (bus.Result, error) {
	if !controllerutil.ContainsFinalizer(p.hr, kube.Finalizer) {
		return bus.Result{Next: bus.Never}, nil
	}
	if p.hr.Spec.Suspend {
		return bus.Result{Next: bus.Never}, p.finalizer(ctx, controllerutil.RemoveFinalizer)
	}
	if p.hr.Status.StorageNamespace != "" { // nothing was stored otherwise
		result, done, err := p.withdraw(ctx)
		if err != nil || !done {
			return result, err
		}
	}
	if p.hr.Status.HelmChart != "" {
		if err := p.deleteChart(ctx); err != nil {
			return bus.Result{}, err
		}
	}
	return bus.Result{Next: bus.Never}, p.finalizer(ctx, controllerutil.RemoveFinalizer)
}

// withdraw takes the next step of the uninstall of a release whose HelmRelease is deleted.
func (p *pass) withdraw(ctx context.Context) (result bus.Result, done bool, err error) {
	leave, err := p.locate(ctx)
	defer leave()
	switch {
	case err == nil:
		return p.uninstall(ctx)
	case missing(err):
		p.leftBehind(err.Error())
		return bus.Result{}, true, nil
	case errors.Is(err, cluster.ErrBusy):
		return bus.Result{Next: cluster.BusyFor(err)}, false, nil
	case noTarget(err) != nil:
		p.tell(note{reason: helmv2.UninstallFailedReason, warning: true, message: "the release cannot be uninstalled: " + err.Error()})
		return bus.Result{Next: retryWait}, false, nil
	}
	return bus.Result{}, false, err
}

func (p *pass) leftBehind(why string) {
	p.tell(note{reason: helmv2.UninstallFailedReason, warning: true, message: "the release is left behind: " + why})
}

// made lists the revisions of the release that was made. When they cannot be read it says so, and the result is when they are
// to be read again.
func (p *pass) made(ctx context.Context) (all []*record, result bus.Result, err error) {
	all, err = p.store.List(ctx, p.madeName())
	if err == nil || ctx.Err() != nil || errors.Is(err, helmstore.ErrNoRoom) {
		return all, bus.Result{}, err
	}
	result, err = p.refuse(ctx, refusal{reason: helmv2.UninstallFailedReason, message: err.Error(), retry: p.unreadable(err), warn: true})
	return nil, result, err
}

// uninstall takes the next step of the uninstall of what the status names, if the object ever made any of it.
func (p *pass) uninstall(ctx context.Context) (result bus.Result, done bool, err error) {
	if err := p.connect(p.hr.Status.StorageNamespace); err != nil {
		return bus.Result{}, false, err
	}
	why, err := p.powerless(ctx)
	if err != nil {
		return bus.Result{}, false, err
	}
	if why != "" {
		p.leftBehind(why)
		return bus.Result{}, true, nil
	}
	all, result, err := p.made(ctx)
	if err != nil || result.Next != 0 {
		return result, false, err
	}
	if len(all) == 0 || all[len(all)-1].Info.Status.String() == "uninstalled" {
		return bus.Result{}, true, nil
	}
	last := all[len(all)-1]
	made, foreign, err := p.provenance(last)
	if err != nil || !made {
		return bus.Result{}, err == nil, err
	}
	runner, err := p.runner(release.Uninstall)
	if err != nil {
		return bus.Result{}, false, err
	}
	if last.Run == nil || last.Run.Over || last.Run.Action != release.Uninstall {
		run := helmstore.Run{Action: release.Uninstall, Owner: p.hr.Namespace + "/" + p.hr.Name, UID: string(p.hr.UID), Foreign: foreign}
		if err := runner.Begin(ctx, last, run); err != nil {
			result, err = p.unwithdrawn(ctx, err)
			return result, false, err
		}
	}
	progress, wait, err := p.advance(ctx, last.Run.Since, stepsOf(runner, last, all))
	if failure := p.asFailure(err); failure != nil {
		return p.notUninstalled(ctx, last, failure)
	}
	if err != nil {
		result, err = p.unwithdrawn(ctx, err)
		return result, false, err
	}
	if !progress.Done {
		return bus.Result{Next: wait}, false, nil
	}
	p.tell(note{reason: helmv2.UninstallSucceededReason, message: textUninstalled(last), of: last})
	return bus.Result{}, true, nil
}

// unwithdrawn says what keeps an uninstall from going on that somebody has to mend. Any other error is returned.
func (p *pass) unwithdrawn(ctx context.Context, why error) (bus.Result, error) {
	if !hindered(ctx, why) {
		return bus.Result{}, why
	}
	return p.refuse(ctx, refusal{reason: helmv2.UninstallFailedReason, message: textHindered(release.Uninstall, why), retry: retryWait, warn: true})
}

// provenance says whether the object made any revision of the release, and whether the newest one may be another's. An
// action that the status only announces made none; what it stored is sealed.
func (p *pass) provenance(last *record) (made, foreign bool, err error) {
	if last.Run != nil {
		return true, last.Run.Foreign, nil
	}
	known, err := verdict.Knows(p.hr.Status.History, last)
	latest := p.hr.Status.History.Latest()
	return known || latest != nil && !helmrelease.Status(latest.Status).IsPending(), !known, err
}

// notUninstalled says why a release is still there. It is tried again.
func (p *pass) notUninstalled(ctx context.Context, last *record, why error) (bus.Result, bool, error) {
	message := fmt.Sprintf("Helm uninstall failed for release %s with chart %s: %s", fullName(last), chartName(last), why)
	c := p.conditions()
	c.Set(helmv2.ReleasedCondition, metav1.ConditionFalse, helmv2.UninstallFailedReason, message)
	c.Set(kube.ConditionReady, metav1.ConditionFalse, helmv2.UninstallFailedReason, message)
	p.tell(note{reason: helmv2.UninstallFailedReason, message: message, warning: true, of: last, lines: p.lines})
	return bus.Result{Next: retryWait}, false, p.write(ctx)
}
