package plan

import (
	"context"
	"fmt"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/builder/internal/objects"
)

// fallback is how long a source's event has to arrive before its watch counts.
const fallback = 5 * time.Second

// request is an object that something happened to.
type request struct {
	kind string
	types.NamespacedName
}

type queue = workqueue.TypedRateLimitingInterface[request]

// Setup adds the watches to a manager. Kinds of sources that the cluster does not
// have yet are watched once they are there.
func (p *Planner) Setup(ctx context.Context, m manager.Manager, configs bool) error {
	p.client = m.GetClient()
	if err := p.index(ctx, m.GetFieldIndexer()); err != nil {
		return err
	}
	c, err := controller.NewTyped("builder-plan", m, controller.TypedOptions[request]{
		Reconciler: reconcile.TypedFunc[request](p.plan), MaxConcurrentReconciles: 4, SkipNameValidation: ptr.To(true),
	})
	if err != nil {
		return fmt.Errorf("plan builds: %w", err)
	}
	watch := source.TypedKind(m.GetCache(), client.Object(&kustomizev1.Kustomization{}),
		enqueue(kustomizev1.KustomizationKind, 0), predicate.TypedFuncs[client.Object]{UpdateFunc: asked})
	if err := c.Watch(watch); err != nil {
		return fmt.Errorf("watch Kustomizations: %w", err)
	}
	releases := source.TypedKind(m.GetCache(), client.Object(&helmv2.HelmRelease{}),
		enqueue(helmv2.HelmReleaseKind, 0), predicate.TypedFuncs[client.Object]{UpdateFunc: asked})
	if err := c.Watch(releases); err != nil {
		return fmt.Errorf("watch HelmReleases: %w", err)
	}
	if configs {
		for _, kind := range []string{"ConfigMap", "Secret"} {
			object := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kind}}
			if err := c.Watch(source.TypedKind(m.GetCache(), client.Object(object), enqueue(kind, 0), predicate.TypedFuncs[client.Object]{})); err != nil {
				return fmt.Errorf("watch %ss: %w", kind, err)
			}
		}
	}
	return m.Add(&sourceWatch{Planner: p, manager: m, controller: c})
}

// enqueue queues the object of every event after a delay.
func enqueue(kind string, delay time.Duration) handler.TypedEventHandler[client.Object, request] {
	add := func(o client.Object, q queue) {
		q.AddAfter(request{kind, client.ObjectKeyFromObject(o)}, delay)
	}
	return handler.TypedFuncs[client.Object, request]{
		CreateFunc:  func(_ context.Context, e event.TypedCreateEvent[client.Object], q queue) { add(e.Object, q) },
		UpdateFunc:  func(_ context.Context, e event.TypedUpdateEvent[client.Object], q queue) { add(e.ObjectNew, q) },
		DeleteFunc:  func(_ context.Context, e event.TypedDeleteEvent[client.Object], q queue) { add(e.Object, q) },
		GenericFunc: func(_ context.Context, e event.TypedGenericEvent[client.Object], q queue) { add(e.Object, q) },
	}
}

// asked says that a Kustomization is to be looked at: its spec, its deletion or
// its reconcile request is new. Its status is not the builder's business.
func asked(e event.TypedUpdateEvent[client.Object]) bool {
	return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
		e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
		e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
		e.ObjectOld.GetAnnotations()[kube.RequestedAt] != e.ObjectNew.GetAnnotations()[kube.RequestedAt]
}

// moved says that a source has another artifact.
func moved(e event.TypedUpdateEvent[client.Object]) bool {
	before, ok1 := e.ObjectOld.(kube.Source)
	after, ok2 := e.ObjectNew.(kube.Source)
	if !ok1 || !ok2 {
		return true
	}
	a, b := before.GetArtifact(), after.GetArtifact()
	if a == nil || b == nil {
		return a != b
	}
	return a.Revision != b.Revision || a.Digest != b.Digest
}

// plan sends the checks that a request leads to; an error is retried.
func (p *Planner) plan(ctx context.Context, r request) (reconcile.Result, error) {
	key := events.NewKey(r.kind, r.Namespace, r.Name)
	switch r.kind {
	case kustomizev1.KustomizationKind, helmv2.HelmReleaseKind:
		return reconcile.Result{}, p.bus.Check(ctx, bus.Target{Stage: events.StageBuild, Key: key, Note: bus.Note{Reason: "spec"}})
	case "ConfigMap", "Secret":
		items, err := p.dependents(ctx, byConfig, key.String())
		if err != nil {
			return reconcile.Result{}, err
		}
		releases, err := p.releases(ctx, byConfig, key.String())
		if err != nil {
			return reconcile.Result{}, err
		}
		note := bus.Note{Reason: "inputs"}
		return reconcile.Result{}, p.bus.Check(ctx, append(targets(items, note), releaseTargets(releases, note)...)...)
	}
	return reconcile.Result{}, p.stale(ctx, r.kind, key)
}

// stale checks what is built from a source and whose newest build is of another
// artifact than the source has.
func (p *Planner) stale(ctx context.Context, kind string, key events.Key) error {
	items, err := p.dependents(ctx, bySource, key.String())
	if err != nil {
		return err
	}
	reader := objects.Reader{Cache: p.client, Live: p.client, Watched: p.Watched}
	due, err := p.staleReleases(ctx, reader, kind, key)
	if err != nil {
		return err
	}
	for i := range items {
		if items[i].Spec.SourceRef.Kind != kind {
			continue
		}
		source, err := reader.Source(ctx, &items[i], false)
		if err != nil {
			return err
		}
		current, err := p.builtFrom(ctx, keyOf(&items[i]), source)
		if err != nil {
			return err
		}
		if !current {
			due = append(due, bus.Target{Stage: events.StageBuild, Key: keyOf(&items[i]), Note: bus.Note{Reason: "source"}})
		}
	}
	return p.bus.Check(ctx, due...)
}

func (p *Planner) staleReleases(ctx context.Context, reader objects.Reader, kind string, key events.Key) ([]bus.Target, error) {
	items, err := p.releases(ctx, bySource, key.String())
	if err != nil {
		return nil, err
	}
	var due []bus.Target
	for i := range items {
		if chart, _ := kube.ChartSource(&items[i]); chart != kind {
			continue
		}
		source, err := reader.Chart(ctx, &items[i], false)
		if err != nil {
			return nil, err
		}
		current, err := p.builtFrom(ctx, releaseKey(&items[i]), source)
		if err != nil {
			return nil, err
		}
		if !current {
			due = append(due, bus.Target{Stage: events.StageBuild, Key: releaseKey(&items[i]), Note: bus.Note{Reason: "source"}})
		}
	}
	return due, nil
}

// builtFrom says whether an object's newest event is of the source's artifact.
func (p *Planner) builtFrom(ctx context.Context, key events.Key, source objects.Source) (bool, error) {
	log, err := p.bus.Open(ctx, events.BuildSubject(p.cluster, key))
	if err != nil {
		return false, err
	}
	e, ok := log.Last()
	if !ok || source.Artifact == nil {
		return false, nil
	}
	var input events.BuildInput
	// What cannot be read is no event of ours, and of no artifact: a build replaces it.
	readable := e.DataAs(&input) == nil
	return readable && input.Revision == source.Artifact.Revision && input.SourceDigest == source.Artifact.Digest, nil
}
