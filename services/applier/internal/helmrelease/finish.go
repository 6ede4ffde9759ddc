package helmrelease

import (
	"context"
	"errors"
	"fmt"
	"slices"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
	"github.com/sluice-gitops/sluice/services/applier/internal/verdict"
)

// finish goes on with what the object began; begun is false when there is nothing.
func (p *pass) finish(ctx context.Context, all []*record) (result bus.Result, begun bool, err error) {
	ours, latest := p.ours(all), p.hr.Status.History.Latest()
	if remedied := p.remedied(all); remedied != nil { // whatever somebody stored after it
		ours = remedied
	}
	switch {
	case ours == nil && p.remedying() && (len(all) == 0 || all[len(all)-1].Info.Status == helmrelease.StatusUninstalled):
		result, err = p.vanished(ctx)
	case ours == nil:
		return bus.Result{}, false, nil
	case !ours.Run.Over:
		result, err = p.goOn(ctx, ours, all)
	case latest == nil || !latest.Targets(ours.Name, ours.Namespace, ours.Version) || helmrelease.Status(latest.Status).IsPending(),
		ours.Run.Action == release.Uninstall && p.remedying():
		result, err = p.conclude(ctx, ours, all)
	default:
		return bus.Result{}, false, nil
	}
	return result, true, err
}

// remedying says whether the status tells that an uninstall remedies a failure, and not how it ended.
func (p *pass) remedying() bool {
	latest := p.hr.Status.History.Latest()
	return latest != nil && latest.Action == helmv2.ReleaseActionUninstallRemediation && latest.Status != helmrelease.StatusUninstalled.String()
}

// remedied returns the revision that an uninstall of this object is at, to remedy a failure; nil when there is none.
func (p *pass) remedied(all []*record) *record {
	if !p.remedying() {
		return nil
	}
	latest := p.hr.Status.History.Latest()
	for _, r := range slices.Backward(all) {
		if r.Run != nil && r.Run.Action == release.Uninstall && latest.Targets(r.Name, r.Namespace, r.Version) {
			return r
		}
	}
	return nil
}

// vanished says that a failure was remedied by whoever could not say it: the release is uninstalled. What is stored proves
// no more than that, and does not become the object's.
func (p *pass) vanished(ctx context.Context) (bus.Result, error) {
	latest := p.hr.Status.History.Latest()
	latest.Status, latest.Deleted = helmrelease.StatusUninstalled.String(), metav1.Now()
	p.hr.Status.Inventory = nil
	message := fmt.Sprintf("Helm uninstall remediation for release %s with chart %s succeeded", latest.FullReleaseName(), latest.VersionedChartName())
	p.conditions().Set(helmv2.RemediatedCondition, metav1.ConditionTrue, helmv2.UninstallSucceededReason, message)
	p.tell(note{reason: helmv2.UninstallSucceededReason, message: message})
	p.summarize()
	if err := p.write(ctx); err != nil {
		return bus.Result{}, err
	}
	return p.later(ctx)
}

// suspended lets an action end that is under way, as Flux does, and begins none.
func (p *pass) suspended(ctx context.Context) (bus.Result, error) {
	if p.hr.Status.StorageNamespace == "" {
		return bus.Result{Next: bus.Never}, nil
	}
	leave, err := p.locate(ctx)
	defer leave()
	if err == nil {
		err = p.connect(p.hr.Status.StorageNamespace)
	}
	var all []*record
	if err == nil {
		all, err = p.store.List(ctx, p.madeName())
	}
	if errors.Is(err, helmstore.ErrNoRoom) {
		return bus.Result{}, err
	}
	if err != nil && ctx.Err() == nil && meta.FindStatusCondition(p.hr.Status.Conditions, kube.ConditionReconciling) == nil {
		return bus.Result{Next: bus.Never}, nil // as far as anybody knows there is none
	}
	if err != nil {
		return bus.Result{Next: retryWait}, context.Cause(ctx)
	}
	result, begun, err := p.finish(ctx, all)
	if !begun {
		result.Next = bus.Never
	}
	return result, err
}

// madeName is the name of the release that was made; what the spec says before there is one.
func (p *pass) madeName() string {
	if latest := p.hr.Status.History.Latest(); latest != nil {
		return latest.Name
	}
	return kube.ReleaseName(p.hr)
}

// unlock frees a revision that is pending and that nobody works on. The status knows it afterwards if it did before:
// what somebody else stored does not become the object's by that.
func (p *pass) unlock(ctx context.Context, last *record) (bus.Result, error) {
	runner := release.Runner{Client: p.client, Store: p.store, Manifests: &p.manifests}
	was := last.Info.Status
	known, err := verdict.Knows(p.hr.Status.History, last)
	if err != nil {
		return bus.Result{}, err
	}
	if err := runner.Unlock(ctx, last); err != nil {
		return p.hindrance(ctx, "unlock", err)
	}
	p.tell(note{reason: "PendingRelease", warning: true, of: last, message: fmt.Sprintf(
		"Unlocked Helm release %s with chart %s in %s state", fullName(last), chartName(last), was)})
	if !known {
		return p.run(ctx)
	}
	return p.remember(ctx, last, []*record{last}, "", p.run)
}
