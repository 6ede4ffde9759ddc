package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"github.com/sluice-gitops/sluice/test/harness"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// bareConnections is how many requests the bare client has in flight, each on a
// connection of its own: the fastest setting that was found.
const bareConnections = 32

// bare is the floor: it server-side applies objects in parallel and does nothing else.
type bare struct{ cluster *harness.Cluster }

func newBare(cfg *rest.Config) (*bare, error) {
	cfg = rest.CopyConfig(cfg)
	tlsConfig, err := rest.TLSConfigFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("bare client: %w", err)
	}
	cfg.Transport = &http.Transport{
		TLSClientConfig: tlsConfig, MaxIdleConnsPerHost: bareConnections, MaxConnsPerHost: bareConnections,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1
	}
	cfg.TLSClientConfig = rest.TLSClientConfig{}
	cluster, err := harness.Connect(cfg)
	if err != nil {
		return nil, err
	}
	return &bare{cluster: cluster}, nil
}

// apply applies all objects and returns how long it took.
func (b *bare) apply(ctx context.Context, objects []*unstructured.Unstructured) (time.Duration, error) {
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(bareConnections)
	for _, u := range objects {
		group.Go(func() error {
			r, err := b.cluster.Resource(u.GroupVersionKind(), u.GetNamespace())
			if err != nil {
				return err
			}
			if _, err := r.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: "bare", Force: true}); err != nil {
				return fmt.Errorf("bare apply %s/%s: %w", u.GetKind(), u.GetName(), err)
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(start), err
}
