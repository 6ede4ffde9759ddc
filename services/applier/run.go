package applier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/recorder"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/cel"
	"github.com/sluice-gitops/sluice/services/applier/internal/claim"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/depend"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/finalize"
	"github.com/sluice-gitops/sluice/services/applier/internal/fleet"
	"github.com/sluice-gitops/sluice/services/applier/internal/handle"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmrelease"
	"github.com/sluice-gitops/sluice/services/applier/internal/keys"
	"github.com/sluice-gitops/sluice/services/applier/internal/kubeconfig"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"github.com/sluice-gitops/sluice/services/applier/internal/plan"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
	"github.com/sluice-gitops/sluice/services/applier/internal/snapshot"
	"github.com/sluice-gitops/sluice/services/applier/internal/target"
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
	m, err := newManager(cfg)
	if err != nil {
		return err
	}
	ring, err := loadKeys(ctx, cfg, m.GetScheme())
	if err != nil {
		return err
	}
	planner, err := plan.New(ctx, m, cfg.Bus, cfg.ConfigSelector != "")
	if err != nil {
		return err
	}
	tell, err := newRecorder(cfg, m)
	if err != nil {
		return err
	}
	snapshots := snapshot.New(cfg.Blobs, ring, cfg.Logger)
	clusters, home, err := newFleet(ctx, cfg, m, tell, ring, snapshots)
	if err != nil {
		return err
	}
	compiler, err := cel.NewCompiler()
	if err != nil {
		return err
	}
	worker := newWorker(cfg, m, ring, clusters, planner, compiler, tell)
	releases, err := newReleaseWorker(cfg, m, ring, clusters, planner, compiler, worker.Renders)
	if err != nil {
		return err
	}
	cfg.Ready.Add("applier", func(ctx context.Context) error {
		if !m.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	})
	cfg.Bus.OnRecovered(func() {
		if err := planner.Resync(ctx); err != nil && ctx.Err() == nil {
			cfg.Logger.Error("resync after streams were wiped", "error", err.Error())
		}
	})
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.Start(groupCtx) })
	group.Go(func() error { return home.Run(groupCtx) })
	group.Go(func() error { return clusters.Run(groupCtx) })
	group.Go(func() error {
		if !watch(groupCtx, m.GetCache(), planner) {
			return nil
		}
		work, workCtx := errgroup.WithContext(groupCtx)
		work.Go(func() error {
			return cfg.Bus.FanOut(workCtx, bus.FanOutConfig{Name: fanOutName, Subjects: plan.Subjects()}, plan.FanOut(cfg.ClusterName))
		})
		work.Go(func() error {
			return cfg.Bus.Work(workCtx, bus.WorkConfig{
				Stage: events.StageApply, Workers: cfg.Concurrency, Deadline: cfg.Deadline, Alone: cfg.Single,
			}, func(ctx context.Context, check bus.Check) (bus.Result, error) {
				if check.Key.Kind == releaseKind {
					return releases.Handle(ctx, check)
				}
				return worker.Handle(ctx, check)
			})
		})
		work.Go(func() error {
			return cfg.Bus.Answer(workCtx, events.AskFilter(cfg.ClusterName), fanOutName, releases.Answer)
		})
		return work.Wait()
	})
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	kept := make(chan error, 1)
	go func() { kept <- snapshots.Run(keep) }()
	err = group.Wait()
	stop() // after the last worker, so that what it did is kept
	return errors.Join(err, <-kept)
}

// watch fills the caches that workers read, before they take a check.
func watch(ctx context.Context, c cache.Cache, planner *plan.Planner) bool {
	for _, object := range []client.Object{&kustomizev1.Kustomization{}, &helmv2.HelmRelease{}} {
		if _, err := c.GetInformer(ctx, object); err != nil {
			return false // the context ended, or the manager reports the same error
		}
	}
	select {
	case <-planner.Looked():
	case <-ctx.Done():
	}
	return c.WaitForCacheSync(ctx)
}

func newManager(cfg Config) (ctrl.Manager, error) {
	scheme, err := kube.Scheme()
	if err != nil {
		return nil, err
	}
	selector, err := labels.Parse(cfg.ConfigSelector)
	if err != nil {
		return nil, fmt.Errorf("watch-configs-label-selector: %w", err)
	}
	reach := rest.CopyConfig(cfg.REST)
	reach.WarningHandler = rest.NoWarnings{} // the finalizer's name is Flux's, not ours to choose
	m, err := ctrl.NewManager(reach, ctrl.Options{
		Scheme:                        scheme,
		Logger:                        logr.FromSlogHandler(cfg.Logger.Handler()),
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		LeaderElection:                !cfg.Single,
		LeaderElectionID:              "sluice-applier",
		LeaderElectionNamespace:       cfg.RuntimeNamespace,
		LeaderElectionReleaseOnCancel: true,
		NewCache:                      cfg.NewCache,
		Cache: cache.Options{
			DefaultTransform:            cache.TransformStripManagedFields(),
			ReaderFailOnMissingInformer: true,
			ByObject: map[client.Object]cache.ByObject{
				&corev1.ConfigMap{}: {Label: selector},
				&corev1.Secret{}:    {Label: selector},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("prepare applier manager: %w", err)
	}
	return m, nil
}

// loadKeys returns the keyring, made when there is none.
func loadKeys(ctx context.Context, cfg Config, scheme *runtime.Scheme) (*keys.Ring, error) {
	if cfg.Keys != nil {
		return keys.Fixed(cfg.Keys), nil
	}
	live, err := client.New(cfg.REST, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("prepare client for keys: %w", err)
	}
	ring, err := keys.Load(ctx, live, cfg.RuntimeNamespace)
	if !apierrors.IsNotFound(err) || !cfg.CreateRuntimeNamespace {
		return ring, err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: cfg.RuntimeNamespace}}
	if err := live.Create(ctx, namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("create runtime namespace %s: %w", cfg.RuntimeNamespace, err)
	}
	return keys.Load(ctx, live, cfg.RuntimeNamespace)
}

// newFleet returns the clusters that are applied to, and the applier's own, which the
// caller runs.
func newFleet(ctx context.Context, cfg Config, m ctrl.Manager, tell report.Recorder, ring *keys.Ring, snapshots *snapshot.Store) (*fleet.Fleet, fleet.Opened, error) {
	hashKey, err := ring.Subkey("live table")
	if err != nil {
		return nil, fleet.Opened{}, err
	}
	home, err := openCluster(ctx, cfg, m, tell, cfg.REST, hashKey, snapshots)
	if err != nil {
		return nil, fleet.Opened{}, err
	}
	live, err := client.New(m.GetConfig(), client.Options{HTTPClient: m.GetHTTPClient(), Scheme: m.GetScheme(), Mapper: m.GetRESTMapper()})
	if err != nil {
		return nil, fleet.Opened{}, fmt.Errorf("prepare client for kubeconfigs: %w", err)
	}
	identities := identity.New(live, identity.Config{
		Service: "applier", Field: "serviceAccountName of a ConfigMap of spec.kubeConfig", ServiceAccounts: cfg.ServiceAccountIdentities,
	})
	clusters := fleet.New(fleet.Options{
		Home: home,
		Connections: kubeconfig.NewReader(live, identities, kubeconfig.Options{
			AllowExec: cfg.InsecureKubeconfigExec, AllowInsecureTLS: cfg.InsecureKubeconfigTLS,
			DefaultServiceAccount: cfg.DefaultKubeconfigServiceAccount, UserAgent: cfg.REST.UserAgent,
		}),
		Open: func(reach *rest.Config) (fleet.Opened, error) {
			return openCluster(ctx, cfg, m, tell, reach, hashKey, nil)
		},
		Busy: cfg.Concurrency / 2, // so that one that hangs leaves workers for the others
		// So that several that hang leave some for the own cluster.
		AllBusy: min(cfg.Concurrency-1, cfg.Concurrency*3/4),
		Check: func(user fleet.User) {
			_ = sendCheck(ctx, cfg, user, bus.Note{Reason: plan.ReasonCluster}) // the timer of its retry asks too
		},
	})
	return clusters, home, nil
}

// sendCheck asks for a check. An error is logged; whoever can asks again.
func sendCheck(ctx context.Context, cfg Config, user fleet.User, note bus.Note) error {
	key := events.NewKey(user.Kind, user.Namespace, user.Name)
	err := cfg.Bus.Check(ctx, bus.Target{Stage: events.StageApply, Key: key, Note: note})
	if err != nil && ctx.Err() == nil {
		cfg.Logger.Error("send check", "kind", key.Kind, "namespace", key.Namespace, "name", key.Name, "error", err.Error())
	}
	return err
}

func kustomization(owner cluster.Owner) fleet.User {
	return fleet.User{Kind: kustomizev1.KustomizationKind, Owner: owner}
}

// openCluster makes what serves a cluster that is applied to. What its watches see
// becomes checks.
func openCluster(ctx context.Context, cfg Config, m ctrl.Manager, tell report.Recorder, reach *rest.Config, hashKey []byte, snapshots target.Snapshots) (fleet.Opened, error) {
	c, err := cluster.New(reach, cluster.Options{OverrideManagers: cfg.OverrideManagers})
	if err != nil {
		return fleet.Opened{}, fmt.Errorf("connect to cluster: %w", err)
	}
	own, err := c.Client()
	if err != nil {
		return fleet.Opened{}, err
	}
	rivalry := rivalry{read: m.GetClient(), tell: tell}
	table := livestate.New(own, livestate.Options{
		OnDrift: func(owner cluster.Owner, notices []livestate.Notice) error {
			if note, ok := drifted(notices); ok {
				if err := sendCheck(ctx, cfg, kustomization(owner), note); err != nil {
					return err
				}
			}
			rivalry.report(ctx, owner, notices)
			return nil
		},
		OnChange: func(owner cluster.Owner) error {
			return sendCheck(ctx, cfg, kustomization(owner), bus.Note{Reason: plan.ReasonHealth})
		},
		Logger:  cfg.Logger,
		HashKey: hashKey,
	})
	stages, err := groupKinds(cfg.StageKinds)
	if err != nil {
		return fleet.Opened{}, err
	}
	place := newPlace(ctx, cfg, own, hashKey, snapshots)
	e := engine.New(table, engine.Options{Parallel: cfg.Parallel, StageKinds: stages})
	t := target.New(c, e, table, target.Options{
		DefaultServiceAccount: cfg.DefaultServiceAccount, VerifyInterval: cfg.VerifyInterval, Snapshots: snapshots,
		Identity: func(ks *kustomizev1.Kustomization) seal.Identity { return desired.Identity(cfg.ClusterName, ks) },
	})
	return fleet.Opened{Target: t, Place: place, Ping: own.Ping, Run: func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return table.Run(ctx) })
		group.Go(func() error { return place.Table.Run(ctx) })
		return group.Wait()
	}}, nil
}

// drifted names what drifted. An object that another Kustomization took over is
// not ours to put back.
func drifted(notices []livestate.Notice) (bus.Note, bool) {
	note := bus.Note{Reason: plan.ReasonDrift}
	for _, n := range notices {
		if n.Why != livestate.Conflict {
			note.Objects = append(note.Objects, n.Object.String())
		}
	}
	return note, len(note.Objects) > 0
}

// newRecorder returns what writes Kubernetes Events while the manager runs.
func newRecorder(cfg Config, m ctrl.Manager) (report.Recorder, error) {
	r, err := recorder.New(m.GetConfig(), m.GetScheme(), report.Component, cfg.Logger)
	if err != nil {
		return report.Recorder{}, err
	}
	if err := m.Add(r); err != nil {
		return report.Recorder{}, fmt.Errorf("add recorder: %w", err)
	}
	return report.Recorder{Events: r}, nil
}

func newWorker(cfg Config, m ctrl.Manager, ring *keys.Ring, clusters *fleet.Fleet, planner *plan.Planner, compiler *cel.Compiler, tell report.Recorder) *handle.Worker {
	reader := claim.NewReader(m.GetClient(), m.GetAPIReader())
	writer := claim.NewWriter(m.GetClient(), reader)
	return &handle.Worker{
		Bus: cfg.Bus, Reader: reader, Writer: writer,
		Sources: desired.Sources{Cache: m.GetClient(), Live: m.GetAPIReader(), Watched: planner.Watched},
		Depend: depend.Checker{
			Cache: m.GetClient(), Live: m.GetAPIReader(), CEL: compiler, Additive: cfg.AdditiveDependencyCheck,
		},
		Keys:      ring,
		Renders:   desired.NewRenders(cfg.Blobs, ring),
		Targets:   clusters,
		Finalizer: &finalize.Finalizer{Bus: cfg.Bus, Writer: writer, Target: clusters, Recorder: tell, Log: cfg.Logger, Cluster: cfg.ClusterName},
		Recorder:  tell,
		Log:       cfg.Logger,
		Options: handle.Options{
			Cluster: cfg.ClusterName, NoCrossNamespaceRefs: cfg.NoCrossNamespaceRefs, ExternalArtifacts: cfg.ExternalArtifacts,
			Jitter: float64(cfg.IntervalJitter) / 100,
		},
	}
}

// releaseKind is HelmRelease as keys spell it.
var releaseKind = events.NewKey(helmv2.HelmReleaseKind, "", "").Kind

// newReleaseWorker returns the worker for HelmReleases. Their Events come from the component
// that Flux's users know.
func newReleaseWorker(cfg Config, m ctrl.Manager, ring *keys.Ring, clusters *fleet.Fleet, planner *plan.Planner, compiler *cel.Compiler, renders *desired.Renders) (*helmrelease.Worker, error) {
	r, err := recorder.New(m.GetConfig(), m.GetScheme(), helmrelease.Component, cfg.Logger)
	if err != nil {
		return nil, err
	}
	if err := m.Add(r); err != nil {
		return nil, fmt.Errorf("add recorder: %w", err)
	}
	return &helmrelease.Worker{
		Bus: cfg.Bus, Client: m.GetClient(), Live: m.GetAPIReader(), Watched: planner.Watched, Places: clusters.Releases(), Keys: ring, Renders: renders,
		CEL: compiler, Recorder: r, Log: cfg.Logger, Began: time.Now(),
		Options: helmrelease.Options{
			Cluster: cfg.ClusterName, DefaultServiceAccount: cfg.DefaultServiceAccount, NoCrossNamespaceRefs: cfg.NoCrossNamespaceRefs,
			ExternalArtifacts: cfg.ExternalArtifacts, Jitter: float64(cfg.IntervalJitter) / 100,
		},
	}, nil
}

// groupKinds reads kinds written as group/Kind; core kinds have an empty group.
func groupKinds(list []string) ([]schema.GroupKind, error) {
	var kinds []schema.GroupKind
	for _, s := range list {
		group, kind, ok := strings.Cut(s, "/")
		if !ok || kind == "" {
			return nil, fmt.Errorf("configure applier: custom-apply-stage-kinds: %q is not group/Kind", s)
		}
		kinds = append(kinds, schema.GroupKind{Group: group, Kind: kind})
	}
	return kinds, nil
}
