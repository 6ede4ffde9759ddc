package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
	"github.com/sluice-gitops/sluice/services/builder/internal/handle"
	"github.com/sluice-gitops/sluice/services/builder/internal/keys"
	"github.com/sluice-gitops/sluice/services/builder/internal/objects"
	"github.com/sluice-gitops/sluice/services/builder/internal/plan"
	"github.com/sluice-gitops/sluice/services/builder/internal/sandbox"
	"github.com/sluice-gitops/sluice/services/builder/internal/served"
	"github.com/sluice-gitops/sluice/services/builder/internal/workspace"
)

// Run serves until ctx ends. It waits for the custom resources and for the sealing
// keys as long as it takes, and says so as its readiness.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	cfg.Ready.Expect("builder")
	err := run(ctx, cfg)
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

func run(ctx context.Context, cfg Config) (err error) {
	metrics, err := handle.NewMetrics(cfg.Registerer)
	if err != nil {
		return err
	}
	trees, remove, err := newWorkspace(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, trees.Close(), remove()) }()
	pool, err := sandbox.New(ctx, sandbox.Config{
		Folder: trees.Folder(), Size: parallel(cfg.Concurrency), Memory: cfg.Memory, Log: cfg.Logger,
	})
	if err != nil {
		return err
	}
	defer pool.Close()

	tellWait := cfg.Ready.Waiting("builder", cfg.Logger)
	if err := kube.AwaitKinds(ctx, cfg.REST, tellWait,
		kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind), helmv2.GroupVersion.WithKind(helmv2.HelmReleaseKind)); err != nil {
		return err
	}
	target, err := served.New(cfg.REST, cfg.Bus)
	if err != nil {
		return err
	}
	planner := plan.New(cfg.Bus, cfg.ClusterName, cfg.Logger)
	planner.AgeSecret = cfg.ageSecret()
	m, err := newManager(ctx, cfg, planner)
	if err != nil {
		return err
	}
	ring, err := keyring(cfg, m)
	if err != nil {
		return err
	}
	handler := handle.New(handle.Parts{
		Objects: objects.Reader{Cache: m.GetCache(), Live: m.GetAPIReader(), Watched: planner.Watched, AgeSecret: cfg.ageSecret()},
		Log:     cfg.Bus, Bucket: cfg.Blob, Trees: trees, Builder: build.New(pool), Keys: ring, Target: target,
	}, handle.Config{
		Cluster: cfg.ClusterName, Live: !cfg.Single, NoCrossNamespaceRefs: cfg.NoCrossNamespaceRefs, ExternalArtifacts: cfg.ExternalArtifacts,
		MaxBuild: cfg.Timeout, JitterPercent: cfg.IntervalJitter, Logger: cfg.Logger, Metrics: metrics,
	})

	planner.Affected = handler.Affected

	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.Start(groupCtx) })
	group.Go(func() error { return pool.Warm(groupCtx) })
	group.Go(func() error { return work(groupCtx, cfg, m, planner, handler, ring, tellWait) })
	return group.Wait()
}

// parallel is how many builds run at once: they only compute, so one beyond the
// processors keeps these busy while a request or a reply is on its way, and more
// would cost memory and win nothing.
func parallel(concurrency int) int { return min(concurrency, runtime.GOMAXPROCS(0)+1) }

// work takes checks once there is something to work with.
func work(ctx context.Context, cfg Config, m ctrl.Manager, planner *plan.Planner, handler *handle.Handler, ring *keys.Keys, tellWait func(error)) error {
	recovered := cfg.Bus.Recovered()
	if !m.GetCache().WaitForCacheSync(ctx) {
		return ctx.Err()
	}
	gone := bus.NewGone(handler.Forget)
	for kind, object := range map[string]client.Object{
		kustomizev1.KustomizationKind: &kustomizev1.Kustomization{}, helmv2.HelmReleaseKind: &helmv2.HelmRelease{},
	} { // on every replica, whichever gets the check of the deletion
		if err := kube.OnDelete(ctx, m.GetCache(), object, func(name types.NamespacedName) {
			gone.Forget(events.NewKey(kind, name.Namespace, name.Name))
		}); err != nil {
			return err
		}
	}
	if err := ring.Wait(ctx, tellWait); err != nil {
		return err
	}
	cfg.Ready.Add("builder", func(context.Context) error { return nil })
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return cfg.Bus.Work(ctx, bus.WorkConfig{
			Stage: events.StageBuild, Workers: cfg.Concurrency, Deadline: cfg.Timeout + 5*time.Minute, Alone: cfg.Single,
		}, gone.Around(handler.Handle))
	})
	group.Go(func() error { return cfg.Bus.FanOut(ctx, plan.FanOut(), planner.Events) })
	group.Go(func() error { return planner.Resync(ctx, recovered) })
	return group.Wait()
}

// newWorkspace returns the artifacts' cache and what removes its folder, if that
// is temporary.
func newWorkspace(cfg Config) (*workspace.Cache, func() error, error) {
	dir, remove := filepath.Join(cfg.DataDir, "builder"), func() error { return nil }
	if cfg.DataDir == "" {
		temporary, err := os.MkdirTemp("", "sluice-builder-")
		if err != nil {
			return nil, nil, fmt.Errorf("prepare workspace: %w", err)
		}
		dir, remove = temporary, func() error { return os.RemoveAll(temporary) }
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("prepare workspace: %w", err), remove())
	}
	trees, err := workspace.New(cfg.Blob, workspace.Config{
		Dir: dir, Disk: cfg.WorkBytes,
		Limits: workspace.Limits{Bytes: cfg.ArtifactBytes, Entries: cfg.ArtifactEntries},
	})
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return trees, remove, nil
}
