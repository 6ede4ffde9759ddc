package applier

import (
	"context"
	"errors"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/cel"
	"github.com/sluice-gitops/sluice/services/applier/internal/fleet"
	"github.com/sluice-gitops/sluice/services/applier/internal/handle"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmrelease"
	"github.com/sluice-gitops/sluice/services/applier/internal/plan"
	"github.com/sluice-gitops/sluice/services/applier/internal/snapshot"
)

// fanOutName is the durable consumer that the replicas share.
const fanOutName = "applier"

// Run serves until ctx ends. It takes checks once its caches are filled.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	tellWait := cfg.Ready.Waiting("applier", cfg.Logger)
	if err := kube.AwaitKinds(ctx, cfg.REST, tellWait,
		kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind), helmv2.GroupVersion.WithKind(helmv2.HelmReleaseKind)); err != nil {
		return err
	}
	a, err := assemble(ctx, cfg)
	if err != nil {
		return err
	}
	return a.run(ctx)
}

// applier is the service, put together.
type applier struct {
	Config
	manager   ctrl.Manager
	planner   *plan.Planner
	home      fleet.Opened
	clusters  *fleet.Fleet
	worker    *handle.Worker
	releases  *helmrelease.Worker
	snapshots *snapshot.Store
}

func assemble(ctx context.Context, cfg Config) (*applier, error) {
	m, err := newManager(cfg)
	if err != nil {
		return nil, err
	}
	ring, err := loadKeys(ctx, cfg, m.GetScheme())
	if err != nil {
		return nil, err
	}
	planner, err := plan.New(ctx, m, cfg.Bus, cfg.ConfigSelector != "")
	if err != nil {
		return nil, err
	}
	tell, err := newRecorder(cfg, m)
	if err != nil {
		return nil, err
	}
	a := &applier{Config: cfg, manager: m, planner: planner, snapshots: snapshot.New(cfg.Blob, ring, cfg.Logger)}
	if a.clusters, a.home, err = newFleet(ctx, cfg, m, tell, ring, a.snapshots); err != nil {
		return nil, err
	}
	compiler, err := cel.NewCompiler()
	if err != nil {
		return nil, err
	}
	a.worker = newWorker(cfg, m, ring, a.clusters, planner, compiler, tell, a.snapshots)
	a.releases, err = newReleaseWorker(cfg, m, a.clusters, planner, a.worker)
	return a, err
}

func (a *applier) run(ctx context.Context) error {
	a.Ready.Add("applier", func(ctx context.Context) error {
		if !a.manager.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	})
	a.Bus.OnRecovered(func() {
		if err := a.planner.Resync(ctx); err != nil && ctx.Err() == nil {
			a.Logger.Error("resync after streams were wiped", "error", err.Error())
		}
	})
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	kept := make(chan error, 1)
	go func() { kept <- a.snapshots.Run(keep) }()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.manager.Start(groupCtx) })
	group.Go(func() error { return a.home.Run(groupCtx) })
	group.Go(func() error { return a.clusters.Run(groupCtx) })
	group.Go(func() error { return a.work(groupCtx) })
	err := group.Wait()
	stop() // after the last worker, so that what it did is kept
	return errors.Join(err, <-kept)
}

// work takes checks and questions, once the caches are filled.
func (a *applier) work(ctx context.Context) error {
	gone := bus.NewGone(a.forget)
	if ready, err := a.watch(ctx, gone); err != nil || !ready {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return a.Bus.FanOut(ctx, bus.FanOutConfig{Name: fanOutName, Subjects: plan.Subjects()}, plan.FanOut(a.ClusterName))
	})
	group.Go(func() error {
		return a.Bus.Work(ctx, bus.WorkConfig{
			Stage: events.StageApply, Workers: a.Concurrency, Deadline: a.Deadline, Alone: a.Single,
		}, gone.Around(a.handle))
	})
	group.Go(func() error {
		return a.Bus.Answer(ctx, events.AskFilter(a.ClusterName), fanOutName, a.releases.Answer)
	})
	return group.Wait()
}

func (a *applier) handle(ctx context.Context, check bus.Check) (bus.Result, error) {
	if check.Key.Kind == releaseKind {
		return a.releases.Handle(ctx, check)
	}
	return a.worker.Handle(ctx, check)
}

func (a *applier) forget(key events.Key) {
	name := types.NamespacedName{Namespace: key.Namespace, Name: key.Name}
	if key.Kind == releaseKind {
		a.releases.Forget(name)
		return
	}
	a.worker.Forget(name)
}

// watch fills the caches that workers read, before they take a check. What is deleted is forgotten
// by every replica, whoever gets its check. It returns false when the context ended before.
func (a *applier) watch(ctx context.Context, gone *bus.Gone) (ready bool, err error) {
	c := a.manager.GetCache()
	for kind, object := range map[string]client.Object{
		kustomizev1.KustomizationKind: &kustomizev1.Kustomization{}, helmv2.HelmReleaseKind: &helmv2.HelmRelease{},
	} {
		err := kube.OnDelete(ctx, c, object, func(name types.NamespacedName) {
			gone.Forget(events.NewKey(kind, name.Namespace, name.Name))
		})
		select {
		case <-ctx.Done():
			return false, nil
		default:
		}
		if err != nil {
			return false, err
		}
	}
	select {
	case <-a.planner.Looked():
		return c.WaitForCacheSync(ctx), nil
	case <-ctx.Done():
		return false, nil
	}
}
