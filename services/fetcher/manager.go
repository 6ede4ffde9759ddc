package fetcher

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/kube"
)

// newManager returns a manager that caches sources, and nothing else.
func newManager(c Config) (ctrl.Manager, error) {
	options, err := kube.ManagerOptions("fetcher", c.RuntimeNamespace, c.Single, c.Logger)
	if err != nil {
		return nil, err
	}
	options.Cache.ReaderFailOnMissingInformer = false // an informer starts with the first who asks
	options.Client.Cache = &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &corev1.ServiceAccount{}}}
	mgr, err := ctrl.NewManager(c.REST, options)
	if err != nil {
		return nil, fmt.Errorf("prepare fetcher manager: %w", err)
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
