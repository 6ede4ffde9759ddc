package builder

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/builder/internal/keys"
	"github.com/sluice-gitops/sluice/services/builder/internal/plan"
)

// newManager returns a manager with the planner's watches. It caches
// Kustomizations, sources, and the names of labelled ConfigMaps and Secrets.
func newManager(ctx context.Context, cfg Config, planner *plan.Planner) (ctrl.Manager, error) {
	options, err := kube.ManagerOptions("builder", cfg.RuntimeNamespace, cfg.Single, cfg.Logger)
	if err == nil {
		options.Cache.ByObject, err = kube.Configs(cfg.ConfigSelector)
	}
	if err != nil {
		return nil, err
	}
	options.NewCache = cfg.NewCache
	m, err := ctrl.NewManager(cfg.REST, options)
	if err != nil {
		return nil, fmt.Errorf("prepare builder manager: %w", err)
	}
	if err := planner.Setup(ctx, m, cfg.ConfigSelector != ""); err != nil {
		return nil, err
	}
	sweeper := &plan.Sweeper{Planner: planner, Bucket: cfg.Blob, Every: cfg.SweepEvery}
	if err := m.Add(manager.RunnableFunc(sweeper.Start)); err != nil {
		return nil, fmt.Errorf("add sweep: %w", err)
	}
	return m, nil
}

// keyring returns the keys that renders are sealed with. Their Secret alone is watched, so
// that neither a build nor an interval costs a request for it.
func keyring(cfg Config, m ctrl.Manager) (*keys.Keys, error) {
	if cfg.Keys != nil {
		return keys.Fixed(cfg.Keys), nil
	}
	secret, err := cache.New(cfg.REST, cache.Options{
		Scheme: m.GetScheme(), HTTPClient: m.GetHTTPClient(), Mapper: m.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: {Namespaces: map[string]cache.Config{
			cfg.RuntimeNamespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", seal.SecretName)},
		}}},
	})
	if err != nil {
		return nil, fmt.Errorf("watch the sealing keys: %w", err)
	}
	if err := m.Add(everywhere{secret}); err != nil {
		return nil, fmt.Errorf("watch the sealing keys: %w", err)
	}
	return keys.FromSecret(secret, cfg.RuntimeNamespace), nil
}

// everywhere runs what it wraps on every replica, not only on the one that leads.
type everywhere struct{ manager.Runnable }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (everywhere) NeedLeaderElection() bool { return false }
