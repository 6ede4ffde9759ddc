package plan

import (
	"context"
	"errors"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/depend"
)

// Reasons of the checks, for logs and traces.
const (
	ReasonSpec       = "spec"
	ReasonSource     = "source"
	ReasonBuild      = "build"
	ReasonHook       = bus.ReasonHook
	ReasonDependency = "dependency"
	ReasonDrift      = "drift"
	ReasonHealth     = "health"
	ReasonCluster    = "cluster"
	ReasonResync     = "resync"
)

// Indexes of the Kustomization cache.
const (
	indexDependsOn  = "applier.dependsOn"
	indexSource     = "applier.source"
	indexKind       = "applier.sourceKind"
	indexConnection = "applier.kubeConfig"
)

// checker queues checks.
type checker interface {
	Check(ctx context.Context, targets ...bus.Target) error
}

// Planner sends checks to appliers.
type Planner struct {
	bus     checker
	cache   client.Reader
	sourced *sourceWatch
}

// New returns a Planner and registers its watches with a manager. connections says
// that the manager caches Secrets and ConfigMaps that spec.kubeConfig may refer to.
func New(ctx context.Context, mgr manager.Manager, b checker, connections bool) (*Planner, error) {
	p := &Planner{bus: b, cache: mgr.GetClient()}
	for field, values := range map[string]client.IndexerFunc{indexDependsOn: dependencies, indexSource: sourceOf, indexKind: sourceKindOf, indexConnection: connectionOf} {
		if err := mgr.GetFieldIndexer().IndexField(ctx, &kustomizev1.Kustomization{}, field, values); err != nil {
			return nil, fmt.Errorf("index Kustomizations by %s: %w", field, err)
		}
	}
	skip := true // other services in this process have controllers of their own
	c, err := controller.NewTyped("applier-planner", mgr, controller.TypedOptions[request]{
		Reconciler: reconcile.TypedFunc[request](p.send), SkipNameValidation: &skip, MaxConcurrentReconciles: 4,
	})
	if err != nil {
		return nil, fmt.Errorf("create planner: %w", err)
	}
	if err := c.Watch(source.TypedKind(mgr.GetCache(), &kustomizev1.Kustomization{}, p.kustomizations())); err != nil {
		return nil, fmt.Errorf("watch Kustomizations: %w", err)
	}
	if err := p.watchReleases(ctx, mgr, c); err != nil {
		return nil, err
	}
	if connections {
		if err := p.watchConnections(mgr, c); err != nil {
			return nil, err
		}
	}
	p.sourced = newSourceWatch(p, mgr, c)
	if err := mgr.Add(p.sourced); err != nil {
		return nil, fmt.Errorf("watch sources: %w", err)
	}
	return p, nil
}

// Watched says whether sources of a kind are watched, so that the cache has them.
func (p *Planner) Watched(kind string) bool { return p.sourced.has(kind) }

// Looked is closed once the kinds of sources that the cluster has are watched.
func (p *Planner) Looked() <-chan struct{} { return p.sourced.looked }

// Resync checks every Kustomization and HelmRelease, for streams that were wiped.
func (p *Planner) Resync(ctx context.Context) error {
	return errors.Join(p.check(ctx, ReasonResync), p.checkReleases(ctx, ReasonResync))
}

// check checks the Kustomizations that options select.
func (p *Planner) check(ctx context.Context, reason string, options ...client.ListOption) error {
	list := &kustomizev1.KustomizationList{}
	if err := p.cache.List(ctx, list, options...); err != nil {
		return fmt.Errorf("check Kustomizations: list them: %w", err)
	}
	targets := make([]bus.Target, 0, len(list.Items))
	for i := range list.Items {
		targets = append(targets, Target(client.ObjectKeyFromObject(&list.Items[i]), bus.Note{Reason: reason}))
	}
	return p.bus.Check(ctx, targets...)
}

// Target is the check of a Kustomization.
func Target(name types.NamespacedName, note bus.Note) bus.Target {
	return bus.Target{
		Stage: events.StageApply,
		Key:   events.NewKey(kustomizev1.KustomizationKind, name.Namespace, name.Name),
		Note:  note,
	}
}

// request is a check that waits to be sent.
type request struct {
	name   types.NamespacedName
	reason string
	kind   string
}

func (p *Planner) send(ctx context.Context, r request) (reconcile.Result, error) {
	return reconcile.Result{}, p.bus.Check(ctx, bus.Target{
		Stage: events.StageApply, Key: events.NewKey(r.kind, r.name.Namespace, r.name.Name), Note: bus.Note{Reason: r.reason},
	})
}

func dependencies(o client.Object) []string {
	var out []string
	for _, name := range depend.Names(o.(*kustomizev1.Kustomization)) {
		out = append(out, name.String())
	}
	return out
}

func sourceOf(o client.Object) []string {
	kind, name := kube.SourceOf(o.(*kustomizev1.Kustomization))
	return []string{kind + "/" + name.String()}
}

func sourceKindOf(o client.Object) []string {
	kind, _ := kube.SourceOf(o.(*kustomizev1.Kustomization))
	return []string{kind}
}
