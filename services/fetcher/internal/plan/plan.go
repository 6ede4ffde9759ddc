// Package plan turns what happens to GitRepositories into checks: changes of the
// objects, authenticated hooks, and streams that were wiped.
package plan

import (
	"context"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	crevent "sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/handle"
)

// queue takes checks.
type queue interface {
	Check(ctx context.Context, targets ...bus.Target) error
}

// Planner sends checks.
type Planner struct {
	queue  queue
	reader client.Reader
}

// New returns a planner that reads objects from reader, which may be a cache.
func New(b *bus.Bus, reader client.Reader) *Planner { return &Planner{queue: b, reader: reader} }

// Watch registers the planner with the manager, which runs it where it leads.
func (p *Planner) Watch(mgr ctrl.Manager) error {
	unchecked := true // several managers may live in one process, so names need not be unique
	err := ctrl.NewControllerManagedBy(mgr).
		Named("fetcher-plan").
		For(&sourcev1.GitRepository{}, builder.WithPredicates(worthwhile())).
		WithOptions(controller.Options{SkipNameValidation: &unchecked, MaxConcurrentReconciles: 8}).
		Complete(p)
	if err != nil {
		return fmt.Errorf("watch GitRepositories: %w", err)
	}
	return nil
}

// Reconcile sends the check of one object, deleted ones included.
func (p *Planner) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	key := events.NewKey(handle.Kind, req.Namespace, req.Name)
	return ctrl.Result{}, p.queue.Check(ctx, target(key, bus.Note{Reason: "spec"}))
}

// Resync sends a check for every object.
func (p *Planner) Resync(ctx context.Context) error {
	var list sourcev1.GitRepositoryList
	if err := p.reader.List(ctx, &list); err != nil {
		return fmt.Errorf("list GitRepositories: %w", err)
	}
	targets := make([]bus.Target, len(list.Items))
	for i, item := range list.Items {
		targets[i] = target(events.NewKey(handle.Kind, item.Namespace, item.Name), bus.Note{Reason: "resync"})
	}
	return p.queue.Check(ctx, targets...)
}

// Hook names the checks that a hook leads to. Hooks for other kinds are others' work.
func Hook(_ context.Context, e event.Event, _ string) ([]bus.Target, error) {
	if e.Type() != events.TypeHookReceived {
		return nil, nil
	}
	hook, err := events.Decode[events.HookReceived](e)
	if err != nil {
		return nil, bus.Permanent(err)
	}
	var targets []bus.Target
	for _, key := range hook.Resources {
		if key.Kind == handle.Kind {
			targets = append(targets, target(key, bus.Note{Reason: "hook"}))
		}
	}
	return targets, nil
}

func target(key events.Key, note bus.Note) bus.Target {
	return bus.Target{Stage: events.StageFetch, Key: key, Note: note}
}

// worthwhile lets through what asks for a pass: a new or deleted object, another
// generation, another value of the requestedAt annotation. Status writes do not.
func worthwhile() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e crevent.UpdateEvent) bool {
			return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
				e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
				e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
				e.ObjectOld.GetAnnotations()[kube.RequestedAt] != e.ObjectNew.GetAnnotations()[kube.RequestedAt]
		},
	}
}
