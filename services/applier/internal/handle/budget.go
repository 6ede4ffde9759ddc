package handle

import (
	"context"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/applier/internal/budget"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// overBudget returns why a render must not be applied: it would delete more than
// the object's budget, and nobody approved exactly that. A prune that began is
// carried to its end, because what is left of it is another plan.
func (p *pass) overBudget(ctx context.Context, a status.Attempt, objects []render.Object) (*status.Failure, error) {
	b, set, err := budget.Of(p.ks)
	if err != nil || !set || !p.ks.Spec.Prune || status.Pruning(p.ks, a.RenderID) {
		return nil, err
	}
	have := entries(p.ks)
	stale := inventory.Stale(have, inventory.Of(plain(objects)))
	refs, err := inventory.ParseAll(stale)
	if err != nil || b.Allows(refs, len(have)) {
		return nil, err
	}
	plan, err := p.Target.Deletions(ctx, p.ks, stale)
	if err != nil {
		return nil, fmt.Errorf("find out what would be deleted: %w", err)
	}
	if b.Allows(plan.Refs(), len(have)) || plan.Approved(p.ks) {
		return nil, nil
	}
	return &status.Failure{
		Reason: status.ReasonOverBudget, Stalled: true,
		Message: fmt.Sprintf("nothing is applied: it would delete %d of %d objects, the budget is %s. "+
			"To approve exactly this, run: kubectl -n %s annotate --overwrite kustomizations.kustomize.toolkit.fluxcd.io %s %s=%s "+
			"To be deleted: %s", len(plan), len(have), b, p.ks.Namespace, p.ks.Name, budget.Approval, plan.Digest(), plan.Text()),
	}, nil
}

// holdBack keeps what runs at the last good version instead of applying a render.
// It is told once for each plan, whatever revisions come and go meanwhile.
func (p *pass) holdBack(ctx context.Context, a status.Attempt, f status.Failure) (bus.Result, error) {
	if f.Cause != nil && stopped(ctx, f.Cause) {
		return bus.Result{}, f.Cause
	}
	if err := p.hold(ctx); err != nil {
		return bus.Result{}, err
	}
	next := p.interval()
	if !f.Stalled {
		next.Next = p.ks.GetRetryInterval()
	}
	a.RenderID = "" // nothing of it was attempted
	told := says(p.ks, f)
	written, err := p.write(ctx, a, f)
	if err != nil || told {
		return next, err
	}
	return next, p.tellFailure(ctx, written, a, f, nil)
}

// says whether a failure is what the object's status has already.
func says(ks *kustomizev1.Kustomization, f status.Failure) bool {
	c := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReady)
	return c != nil && c.Reason == f.Reason && c.Message == f.Message
}
