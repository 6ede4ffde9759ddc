package applier

import (
	"context"
	"fmt"
	"strings"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/recorder"
	"github.com/sluice-gitops/sluice/services/applier/internal/cel"
	"github.com/sluice-gitops/sluice/services/applier/internal/claim"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/depend"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
	"github.com/sluice-gitops/sluice/services/applier/internal/finalize"
	"github.com/sluice-gitops/sluice/services/applier/internal/fleet"
	"github.com/sluice-gitops/sluice/services/applier/internal/handle"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmrelease"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/keys"
	"github.com/sluice-gitops/sluice/services/applier/internal/plan"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
	"github.com/sluice-gitops/sluice/services/applier/internal/snapshot"
)

func newManager(cfg Config) (ctrl.Manager, error) {
	options, err := kube.ManagerOptions("applier", cfg.RuntimeNamespace, cfg.Single, cfg.Logger)
	if err == nil {
		options.Cache.ByObject, err = kube.Configs(cfg.ConfigSelector)
	}
	if err != nil {
		return nil, err
	}
	options.NewCache = cfg.NewCache
	options.NewClient = func(config *rest.Config, o client.Options) (client.Client, error) {
		var err error
		if o.HTTPClient, err = cluster.HTTPClient(config); err != nil {
			return nil, err
		}
		return client.New(config, o)
	}
	reach := rest.CopyConfig(cfg.REST)
	reach.WarningHandler = rest.NoWarnings{} // the finalizer's name is Flux's, not ours to choose
	m, err := ctrl.NewManager(reach, options)
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

// newRecorder returns what writes Kubernetes Events while the manager runs.
func newRecorder(cfg Config, m ctrl.Manager) (report.Recorder, error) {
	r, err := recorder.New(m, report.Component, cfg.Logger)
	return report.Recorder{Events: r}, err
}

func newWorker(cfg Config, m ctrl.Manager, ring *keys.Ring, clusters *fleet.Fleet, planner *plan.Planner, compiler *cel.Compiler, tell report.Recorder, snapshots *snapshot.Store) *handle.Worker {
	reader := claim.NewReader(m.GetClient(), m.GetAPIReader())
	writer := claim.NewWriter(m.GetClient(), reader)
	return &handle.Worker{
		Bus: cfg.Bus, Reader: reader, Writer: writer,
		Sources: desired.Sources{Cache: m.GetClient(), Live: m.GetAPIReader(), Watched: planner.Watched},
		Depend: depend.Checker{
			Cache: m.GetClient(), Live: m.GetAPIReader(), CEL: compiler, Additive: cfg.AdditiveDependencyCheck,
		},
		Keys:      ring,
		Renders:   desired.NewRenders(cfg.Blob, ring),
		Targets:   clusters,
		Finalizer: &finalize.Finalizer{Bus: cfg.Bus, Writer: writer, Target: clusters, Recorder: tell, Log: cfg.Logger, Cluster: cfg.ClusterName},
		Snapshots: snapshots,
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
// that Flux's users know; the rest it shares with the worker for Kustomizations.
func newReleaseWorker(cfg Config, m ctrl.Manager, clusters *fleet.Fleet, planner *plan.Planner, shared *handle.Worker) (*helmrelease.Worker, error) {
	r, err := recorder.New(m, helmrelease.Component, cfg.Logger)
	if err != nil {
		return nil, err
	}
	return &helmrelease.Worker{
		Bus: cfg.Bus, Client: m.GetClient(), Live: m.GetAPIReader(), Watched: planner.Watched, Places: clusters.Releases(), Snapshots: shared.Snapshots,
		Keys: shared.Keys, Renders: shared.Renders, Histories: helmstore.NewRoom(), CEL: shared.Depend.CEL, Recorder: r, Log: cfg.Logger, Began: time.Now(),
		Options: helmrelease.Options{
			Cluster: cfg.ClusterName, DefaultServiceAccount: cfg.DefaultServiceAccount, NoCrossNamespaceRefs: cfg.NoCrossNamespaceRefs,
			ExternalArtifacts: cfg.ExternalArtifacts, AdditiveDependencyCheck: cfg.AdditiveDependencyCheck, Jitter: float64(cfg.IntervalJitter) / 100,
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
