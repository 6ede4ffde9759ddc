// Package plan turns what happens to sources into checks: changes of the objects and
// of the sources they are made from, authenticated hooks, and streams that were wiped.
package plan

import (
	"context"
	"fmt"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	crevent "sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// queue takes checks.
type queue interface {
	Check(ctx context.Context, targets ...bus.Target) error
}

// minder is a kind that minds changes of an object beside its generation.
type minder interface {
	Minds(old, now source.Object) bool
}

// roamer is a kind whose objects may need sources of other namespaces.
type roamer interface{ Roams() }

// maker is a kind whose objects make others: one of these that is gone is made anew.
type maker interface {
	Makes(obj source.Object) []events.Key
}

// Planner sends checks of objects of the kinds.
type Planner struct {
	queue  queue
	kinds  []source.Watched
	reader client.Reader
}

// New returns a planner that reads objects from reader, which should be a cache.
func New(b *bus.Bus, kinds []source.Watched, reader client.Reader) *Planner {
	return &Planner{queue: b, kinds: kinds, reader: reader}
}

// Watch registers the planner with the manager, which runs it where it leads.
func (p *Planner) Watch(mgr ctrl.Manager) error {
	unchecked := true // several managers may live in one process, so names need not be unique
	for _, kind := range p.kinds {
		err := ctrl.NewControllerManagedBy(mgr).
			Named("fetcher-plan-"+kind.Name()).
			For(kind.New(), builder.WithPredicates(worthwhile(kind))).
			WithOptions(controller.Options{SkipNameValidation: &unchecked, MaxConcurrentReconciles: 8}).
			Complete(p.checking(kind))
		if err != nil {
			return fmt.Errorf("watch objects of kind %s: %w", kind.Name(), err)
		}
	}
	return nil
}

// checking sends the check of one object, deleted ones included. No event tells of those
// and of static ones, so what needs one is checked at once too.
func (p *Planner) checking(kind source.Watched) reconcile.Func {
	return func(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
		key := events.NewKey(kind.Name(), req.Namespace, req.Name)
		targets := []bus.Target{target(key, bus.Note{Reason: "spec"})}
		obj := kind.New()
		err := p.reader.Get(ctx, req.NamespacedName, obj)
		gone := apierrors.IsNotFound(err)
		if err != nil && !gone {
			return ctrl.Result{}, fmt.Errorf("read %s: %w", key, err)
		}
		if gone || static(kind, obj) {
			concerned, err := p.needing(ctx, key, bus.Note{Reason: "source"}, gone)
			if err != nil {
				return ctrl.Result{}, err
			}
			targets = append(targets, concerned...)
		}
		return ctrl.Result{}, p.queue.Check(ctx, targets...)
	}
}

func static(kind source.Watched, obj source.Object) bool {
	k, ok := kind.(source.Kind)
	return ok && k.State(obj).Static
}

// Resync sends a check for every object.
func (p *Planner) Resync(ctx context.Context) error {
	var targets []bus.Target
	err := p.Each(ctx, func(key events.Key) {
		targets = append(targets, target(key, bus.Note{Reason: "resync"}))
	})
	if err != nil {
		return err
	}
	return p.queue.Check(ctx, targets...)
}

// Each calls do with the key of every object.
func (p *Planner) Each(ctx context.Context, do func(events.Key)) error {
	for _, kind := range p.kinds {
		if err := p.each(ctx, kind, "", func(_ source.Object, key events.Key) { do(key) }); err != nil {
			return err
		}
	}
	return nil
}

// each calls do with every object of a kind in a namespace, in all namespaces when it is empty.
func (p *Planner) each(ctx context.Context, kind source.Watched, namespace string, do func(source.Object, events.Key)) error {
	list := kind.List()
	if err := p.reader.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return fmt.Errorf("list objects of kind %s: %w", kind.Name(), err)
	}
	return meta.EachListItem(list, func(item runtime.Object) error {
		obj := item.(source.Object)
		do(obj, events.NewKey(kind.Name(), obj.GetNamespace(), obj.GetName()))
		return nil
	})
}

// FanOut names the checks that an event leads to: a hook's objects, and objects that
// are made from a source that changed.
func (p *Planner) FanOut(ctx context.Context, e event.Event, _ string) ([]bus.Target, error) {
	switch e.Type() {
	case events.TypeHookReceived:
		return p.hook(e)
	case events.TypeSourceChanged:
		return p.dependents(ctx, e)
	}
	return nil, nil
}

// hook leaves out other kinds: they are others' work.
func (p *Planner) hook(e event.Event) ([]bus.Target, error) {
	hook, err := events.Decode[events.HookReceived](e)
	if err != nil {
		return nil, bus.Permanent(err)
	}
	var targets []bus.Target
	for _, key := range hook.Resources {
		if slices.ContainsFunc(p.kinds, func(k source.Watched) bool { return k.Name() == key.Kind }) {
			targets = append(targets, target(key, bus.Note{Reason: bus.ReasonHook}))
		}
	}
	return targets, nil
}

func (p *Planner) dependents(ctx context.Context, e event.Event) ([]bus.Target, error) {
	changed, err := events.Decode[events.SourceChanged](e)
	if err != nil {
		return nil, bus.Permanent(err)
	}
	return p.needing(ctx, changed.Source, bus.Note{Reason: "source", Revision: changed.Revision}, false)
}

// needing names the checks of the objects that are made from a source, and of those that
// made it if it is gone.
func (p *Planner) needing(ctx context.Context, needed events.Key, note bus.Note, gone bool) ([]bus.Target, error) {
	var targets []bus.Target
	for _, kind := range p.kinds {
		namespace := needed.Namespace
		if _, roams := kind.(roamer); roams {
			namespace = ""
		}
		err := p.each(ctx, kind, namespace, func(obj source.Object, key events.Key) {
			m, makes := kind.(maker)
			if slices.Contains(kind.Needs(obj), needed) || gone && makes && slices.Contains(m.Makes(obj), needed) {
				targets = append(targets, target(key, note))
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return targets, nil
}

func target(key events.Key, note bus.Note) bus.Target {
	return bus.Target{Stage: events.StageFetch, Key: key, Note: note}
}

// worthwhile lets through what asks for a pass: a new or deleted object, another
// generation, another value of the requestedAt annotation, and what the kind minds. Other
// status writes do not.
func worthwhile(kind source.Watched) predicate.Predicate {
	minds := func(source.Object, source.Object) bool { return false }
	if k, ok := kind.(minder); ok {
		minds = k.Minds
	}
	return predicate.Funcs{
		UpdateFunc: func(e crevent.UpdateEvent) bool {
			return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
				e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
				e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
				e.ObjectOld.GetAnnotations()[kube.RequestedAt] != e.ObjectNew.GetAnnotations()[kube.RequestedAt] || minds(e.ObjectOld, e.ObjectNew)
		},
	}
}
