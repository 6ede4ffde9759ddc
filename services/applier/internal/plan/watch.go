package plan

import (
	"context"
	"maps"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/budget"
	"github.com/sluice-gitops/sluice/services/applier/internal/depend"
	"github.com/sluice-gitops/sluice/services/applier/internal/drift"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

type queue = workqueue.TypedRateLimitingInterface[request]

// kustomizations checks an object whose spec, reconcile request or life changed,
// and the dependents of one whose outcome changed.
func (p *Planner) kustomizations() handler.TypedEventHandler[*kustomizev1.Kustomization, request] {
	return handler.TypedFuncs[*kustomizev1.Kustomization, request]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*kustomizev1.Kustomization], q queue) {
			q.Add(request{client.ObjectKeyFromObject(e.Object), ReasonSpec, kustomizev1.KustomizationKind})
			if !e.IsInInitialList {
				p.dependents(ctx, e.Object, q, true)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*kustomizev1.Kustomization], q queue) {
			if wanted(e.ObjectOld, e.ObjectNew) {
				q.Add(request{client.ObjectKeyFromObject(e.ObjectNew), ReasonSpec, kustomizev1.KustomizationKind})
			}
			if e.ObjectOld.ResourceVersion != e.ObjectNew.ResourceVersion {
				p.dependents(ctx, e.ObjectNew, q, unblocks(e.ObjectOld, e.ObjectNew))
			}
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*kustomizev1.Kustomization], q queue) {
			q.Add(request{client.ObjectKeyFromObject(e.Object), ReasonSpec, kustomizev1.KustomizationKind})
			p.dependents(ctx, e.Object, q, true) // a cycle may be gone with it
		},
	}
}

// wanted says whether an update asks for a check of the object itself.
func wanted(before, now *kustomizev1.Kustomization) bool {
	return before.UID != now.UID || before.Generation != now.Generation ||
		annotated(before, now, kube.RequestedAt, budget.Annotation, budget.Approval, drift.Annotation) ||
		(depend.Expressive(now, types.NamespacedName{}) && // which may read them
			(!maps.Equal(before.Labels, now.Labels) || !maps.Equal(before.Annotations, now.Annotations))) ||
		before.DeletionTimestamp.IsZero() != now.DeletionTimestamp.IsZero() ||
		(now.DeletionTimestamp.IsZero() && controllerutil.ContainsFinalizer(before, kube.Finalizer) &&
			!controllerutil.ContainsFinalizer(now, kube.Finalizer))
}

// annotated says whether one of these annotations changed.
func annotated(before, now *kustomizev1.Kustomization, keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool {
		was, had := before.Annotations[key]
		is, has := now.Annotations[key]
		return was != is || had != has
	})
}

// unblocks says whether an update may let dependents go on: the object got
// Ready, applied another revision, or has other dependencies itself.
func unblocks(before, now *kustomizev1.Kustomization) bool {
	if before.Generation != now.Generation {
		return len(now.Spec.DependsOn) > 0
	}
	return status.Ready(now) && (!status.Ready(before) || before.Status.LastAppliedRevision != now.Status.LastAppliedRevision)
}

// dependents checks what depends on ks: all of it, or what has an expression of
// its own about ks.
func (p *Planner) dependents(ctx context.Context, ks *kustomizev1.Kustomization, q queue, all bool) {
	name := client.ObjectKeyFromObject(ks)
	p.each(ctx, indexDependsOn, name.String(), func(dependent *kustomizev1.Kustomization) {
		if all || depend.Expressive(dependent, name) {
			q.Add(request{client.ObjectKeyFromObject(dependent), ReasonDependency, kustomizev1.KustomizationKind})
		}
	})
}

// each calls f for the Kustomizations an index finds. The cache is in memory and
// the index exists, so an error is a fault of the program or the end of it.
func (p *Planner) each(ctx context.Context, index, value string, f func(*kustomizev1.Kustomization)) {
	list := &kustomizev1.KustomizationList{}
	if err := p.cache.List(ctx, list, client.MatchingFields{index: value}); err != nil {
		log.FromContext(ctx).Error(err, "list Kustomizations", "index", index, "value", value)
		return
	}
	for i := range list.Items {
		f(&list.Items[i])
	}
}
