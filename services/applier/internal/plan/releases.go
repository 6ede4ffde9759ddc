package plan

import (
	"context"
	"fmt"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
)

// indexReleaseDependsOn is the index of the HelmRelease cache.
const indexReleaseDependsOn = "applier.dependsOn"

// watchReleases checks HelmReleases whose spec, requests or life changed, and the dependents of
// those whose outcome did.
func (p *Planner) watchReleases(ctx context.Context, mgr manager.Manager, c controller.TypedController[request]) error {
	for field, values := range map[string]client.IndexerFunc{indexReleaseDependsOn: releaseDependencies, indexConnection: connectionOf} {
		if err := mgr.GetFieldIndexer().IndexField(ctx, &helmv2.HelmRelease{}, field, values); err != nil {
			return fmt.Errorf("index HelmReleases by %s: %w", field, err)
		}
	}
	if err := c.Watch(source.TypedKind(mgr.GetCache(), &helmv2.HelmRelease{}, p.releases())); err != nil {
		return fmt.Errorf("watch HelmReleases: %w", err)
	}
	return nil
}

func releaseDependencies(o client.Object) []string {
	var out []string
	for _, name := range kube.ReleaseDependencies(o.(*helmv2.HelmRelease)) {
		out = append(out, name.String())
	}
	return out
}

// eachRelease calls f for the HelmReleases an index finds. The cache is in memory and the index
// exists, so an error is a fault of the program or the end of it.
func (p *Planner) eachRelease(ctx context.Context, index, value string, f func(*helmv2.HelmRelease)) {
	list := &helmv2.HelmReleaseList{}
	if err := p.cache.List(ctx, list, client.MatchingFields{index: value}); err != nil {
		log.FromContext(ctx).Error(err, "list HelmReleases", "index", index, "value", value)
		return
	}
	for i := range list.Items {
		f(&list.Items[i])
	}
}

func (p *Planner) releases() handler.TypedEventHandler[*helmv2.HelmRelease, request] {
	add := func(o *helmv2.HelmRelease, reason string, q queue) {
		q.Add(request{client.ObjectKeyFromObject(o), reason, helmv2.HelmReleaseKind})
	}
	return handler.TypedFuncs[*helmv2.HelmRelease, request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*helmv2.HelmRelease], q queue) {
			add(e.Object, ReasonSpec, q)
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*helmv2.HelmRelease], q queue) {
			if releaseWanted(e.ObjectOld, e.ObjectNew) {
				add(e.ObjectNew, ReasonSpec, q)
			}
			if e.ObjectOld.ResourceVersion != e.ObjectNew.ResourceVersion && released(e.ObjectNew) {
				p.dependentReleases(ctx, e.ObjectNew, q, !released(e.ObjectOld))
			}
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*helmv2.HelmRelease], q queue) {
			add(e.Object, ReasonSpec, q)
		},
	}
}

// releaseWanted says whether an update asks for a check of the object itself.
func releaseWanted(before, now *helmv2.HelmRelease) bool {
	return before.UID != now.UID || before.Generation != now.Generation ||
		before.Annotations[kube.RequestedAt] != now.Annotations[kube.RequestedAt] ||
		before.DeletionTimestamp.IsZero() != now.DeletionTimestamp.IsZero() ||
		now.DeletionTimestamp.IsZero() && controllerutil.ContainsFinalizer(before, kube.Finalizer) && !controllerutil.ContainsFinalizer(now, kube.Finalizer)
}

func released(hr *helmv2.HelmRelease) bool {
	return hr.Status.ObservedGeneration == hr.Generation && meta.IsStatusConditionTrue(hr.Status.Conditions, kube.ConditionReady)
}

// dependentReleases checks what depends on a release: all of it, or what has an expression
// about it, which any change may meet.
func (p *Planner) dependentReleases(ctx context.Context, hr *helmv2.HelmRelease, q queue, all bool) {
	name := client.ObjectKeyFromObject(hr)
	p.eachRelease(ctx, indexReleaseDependsOn, name.String(), func(dependent *helmv2.HelmRelease) {
		for n, d := range dependent.Spec.DependsOn {
			if kube.ReleaseDependencies(dependent)[n] == name && (all || d.ReadyExpr != "") {
				q.Add(request{client.ObjectKeyFromObject(dependent), ReasonDependency, helmv2.HelmReleaseKind})
			}
		}
	})
}

// checkReleases checks every HelmRelease.
func (p *Planner) checkReleases(ctx context.Context, reason string) error {
	list := &helmv2.HelmReleaseList{}
	if err := p.cache.List(ctx, list); err != nil {
		return fmt.Errorf("check HelmReleases: list them: %w", err)
	}
	targets := make([]bus.Target, 0, len(list.Items))
	for i := range list.Items {
		targets = append(targets, bus.Target{
			Stage: events.StageApply, Key: events.NewKey(helmv2.HelmReleaseKind, list.Items[i].Namespace, list.Items[i].Name),
			Note: bus.Note{Reason: reason},
		})
	}
	return p.bus.Check(ctx, targets...)
}
