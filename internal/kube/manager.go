package kube

import (
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// ManagerOptions returns what the managers of all services have in common: every kind that Sluice serves, a cache that has
// only what somebody watches, without managed fields, no metrics of its own, and the logger. The replicas of a service elect
// a leader by a lease in namespace; single says that there is one replica, which needs none.
func ManagerOptions(service, namespace string, single bool, logger *slog.Logger) (ctrl.Options, error) {
	scheme, err := Scheme()
	if err != nil {
		return ctrl.Options{}, err
	}
	return ctrl.Options{
		Scheme:                        scheme,
		Logger:                        logr.FromSlogHandler(logger.Handler()),
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		LeaderElection:                !single,
		LeaderElectionID:              "sluice-" + service,
		LeaderElectionNamespace:       namespace,
		LeaderElectionReleaseOnCancel: true,
		Cache: cache.Options{
			DefaultTransform:            cache.TransformStripManagedFields(),
			ReaderFailOnMissingInformer: true,
		},
	}, nil
}

// Configs says that of ConfigMaps and Secrets a cache has those that a label selector, as --watch-configs-label-selector
// gives it, chooses.
func Configs(selector string) (map[client.Object]cache.ByObject, error) {
	chosen, err := labels.Parse(selector)
	if err != nil {
		return nil, fmt.Errorf("watch-configs-label-selector: %w", err)
	}
	return map[client.Object]cache.ByObject{&corev1.ConfigMap{}: {Label: chosen}, &corev1.Secret{}: {Label: chosen}}, nil
}
