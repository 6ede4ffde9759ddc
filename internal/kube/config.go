package kube

import (
	"errors"
	"fmt"

	"github.com/sluice-gitops/sluice/internal/share"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config loads the configuration of the hub cluster: from the kubeconfig file when
// a path is given, else from KUBECONFIG or the home directory, else from the
// service account of the pod. The client has no rate limit of its own; the API
// server's priority and fairness decides; requests of a check are steps of it (package share).
func Config(kubeconfig, userAgent string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("load kubeconfig: none was found that names a cluster: give one with --kubeconfig or KUBECONFIG, or run in a pod with a service account")
	}
	if err != nil {
		return nil, fmt.Errorf("load kubeconfig: %w", err)
	}
	cfg.QPS = -1
	cfg.UserAgent = userAgent
	cfg.Wrap(share.Transport)
	return cfg, nil
}
