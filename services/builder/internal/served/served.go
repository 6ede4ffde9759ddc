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
	served shared[helm.Cluster]
}

// New returns a Reader of the API server that config reaches, and whose applier is on the bus.
func New(config *rest.Config, b asker) (*Reader, error) {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("discover kinds: %w", err)
	}
	return &Reader{client: client, bus: b}, nil
}

// Cluster returns what is served after it is called: a definition may have been installed a
// moment ago for just the chart that is rendered next. Those who ask at the same time share the answer.
func (r *Reader) Cluster(ctx context.Context) (helm.Cluster, error) {
	return r.served.get(ctx, r.discover)
}

// discover sends three requests.
func (r *Reader) discover() (helm.Cluster, error) {
	served, err := render.Discover(r.client)
	return helm.Cluster(served), err
}
