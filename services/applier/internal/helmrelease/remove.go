package helmrelease

import (
	"context"
	"errors"
	"fmt"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
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
	if p.hr.Status.StorageNamespace != "" { // it was never installed otherwise
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

// uninstall takes the next step of the uninstall of what the status names.
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
	all, err := p.store.List(ctx, p.madeName())
	if err != nil && ctx.Err() == nil {
		result, err = p.refuse(ctx, refusal{reason: helmv2.UninstallFailedReason, message: err.Error(), retry: p.unreadable(err), warn: true})
	}
	if err != nil || result.Next != 0 {
		return result, false, err
	}
	if len(all) == 0 || all[len(all)-1].Info.Status.String() == "uninstalled" {
		return bus.Result{}, true, nil
	}
	runner, err := p.runner(release.Uninstall)
	if err != nil {
		return bus.Result{}, false, err
	}
	last := all[len(all)-1]
	if last.Run == nil || last.Run.Action != release.Uninstall {
		run := helmstore.Run{Action: release.Uninstall, Owner: p.hr.Namespace + "/" + p.hr.Name, UID: string(p.hr.UID)}
		if err := runner.Begin(ctx, last, run); err != nil {
			return bus.Result{}, false, err
		}
	}
	progress, wait, err := p.advance(ctx, last.Run.Since, stepsOf(runner, last, all))
	if failure := p.asFailure(err); failure != nil {
		return p.notUninstalled(ctx, last, failure)
	}
	if err != nil || !progress.Done {
		return bus.Result{Next: wait}, false, err
	}
	p.tell(note{reason: helmv2.UninstallSucceededReason, message: textUninstalled(last), of: last})
	return bus.Result{}, true, nil
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
