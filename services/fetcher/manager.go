package fetcher

import (
	"context"
	"fmt"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/sluice-gitops/sluice/internal/kube"
)

// newManager returns a manager that caches GitRepositories and nothing else.
func newManager(c Config) (ctrl.Manager, error) {
	scheme, err := kube.Scheme()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(c.REST, ctrl.Options{
		Scheme:                        scheme,
		Logger:                        logr.FromSlogHandler(c.Logger.Handler()),
		LeaderElection:                !c.Single,
		LeaderElectionID:              "sluice-fetcher",
		LeaderElectionNamespace:       c.RuntimeNamespace,
		LeaderElectionReleaseOnCancel: true,
		Metrics:                       server.Options{BindAddress: "0"},
		Cache: cache.Options{
			ByObject:         map[client.Object]cache.ByObject{&sourcev1.GitRepository{}: {}},
			DefaultTransform: cache.TransformStripManagedFields(),
		},
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("create manager: %w", err)
	}
	return mgr, nil
}

// newRecorder returns what writes Kubernetes Events, in the background, and a
// function that ends it.
func newRecorder(config *rest.Config, scheme *runtime.Scheme) (record.EventRecorder, func(), error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("create client for events: %w", err)
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: clients.CoreV1().Events("")})
	return broadcaster.NewRecorder(scheme, corev1.EventSource{Component: "sluice-fetcher"}), broadcaster.Shutdown, nil
}

// part is something the manager runs.
type part struct {
	run    func(context.Context) error
	leader bool
}

// Start runs the part until ctx ends.
func (p part) Start(ctx context.Context) error { return p.run(ctx) }

// NeedLeaderElection says whether the part runs only where the manager leads.
func (p part) NeedLeaderElection() bool { return p.leader }
