package fetcher

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/sluice-gitops/sluice/internal/kube"
)

// newManager returns a manager that caches sources, and nothing else.
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
			DefaultTransform: cache.TransformStripManagedFields(),
		},
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &corev1.ServiceAccount{}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("create manager: %w", err)
	}
	return mgr, nil
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
