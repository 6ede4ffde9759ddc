// Package served tells what the API server is, serves and holds, as charts see it.
package served

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/services/builder/internal/helm"
)

// Reader asks one API server, and its applier. It is safe for concurrent use.
type Reader struct {
	client *discovery.DiscoveryClient
	bus    asker
}

// New returns a Reader of the API server that config reaches, and whose applier is on the bus.
func New(config *rest.Config, b asker) (*Reader, error) {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("discover kinds: %w", err)
	}
	return &Reader{client: client, bus: b}, nil
}

// Cluster asks anew each time, in three requests: a definition may have been installed a
// moment ago for just the chart that is rendered next. A group whose API server does not
// answer is left out, as helm does.
func (r *Reader) Cluster(context.Context) (helm.Cluster, error) {
	version, err := r.client.ServerVersion()
	if err != nil {
		return helm.Cluster{}, fmt.Errorf("discover the version of the API server: %w", err)
	}
	groups, lists, err := r.client.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return helm.Cluster{}, fmt.Errorf("discover kinds: %w", err)
	}
	var names []string
	for _, g := range groups {
		for _, v := range g.Versions {
			names = append(names, v.GroupVersion)
		}
	}
	for _, list := range lists {
		for _, resource := range list.APIResources {
			names = append(names, list.GroupVersion+"/"+resource.Kind)
		}
	}
	slices.Sort(names)
	return helm.Cluster{Version: version.GitVersion, Major: version.Major, Minor: version.Minor, APIVersions: slices.Compact(names)}, nil
}
