// Package served tells what the API server is, serves and holds, as charts see it.
package served

import (
	"context"
	"fmt"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/render"
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
// moment ago for just the chart that is rendered next.
func (r *Reader) Cluster(context.Context) (helm.Cluster, error) {
	served, err := render.Discover(r.client)
	return helm.Cluster(served), err
}
