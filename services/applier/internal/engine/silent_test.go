package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster/clustertest"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
)

// A cluster that does not answer holds a worker for as long as one request may take, however many objects there are.
func TestASilentClusterEndsTheWork(t *testing.T) {
	const objects, parallel = 160, 16
	owner := cluster.Owner{Namespace: "a", Name: "b"}
	apply := func(kind string, compare bool) func(*engine.Engine, *cluster.Client) error {
		return func(e *engine.Engine, client *cluster.Client) error {
			var all []*unstructured.Unstructured
			for n := range objects {
				all = append(all, cluster.Ref{Version: "v1", Kind: kind, Namespace: "a", Name: fmt.Sprint(n)}.Object())
			}
			_, err := e.Apply(t.Context(), engine.Request{Owner: owner, Client: client, Objects: all, Compare: compare})
			return err
		}
	}
	var stale []inventory.Entry
	for n := range objects {
		kind := []string{"ConfigMap", "Pod"}[n%2] // which are dealt with one after the other
		stale = append(stale, inventory.EntryOf(cluster.Ref{Version: "v1", Kind: kind, Namespace: "a", Name: fmt.Sprint(n)}))
	}
	prune := func(client *cluster.Client) engine.PruneRequest {
		return engine.PruneRequest{Owner: owner, Client: client, Stale: stale}
	}
	for _, tt := range []struct {
		what string
		work func(*engine.Engine, *cluster.Client) error
	}{
		{"dry runs", apply("Pod", false)},
		{"objects that are made without one", apply("ConfigMap", false)},
		{"comparing", apply("Pod", true)},
		{"looking at what is to be deleted", func(e *engine.Engine, c *cluster.Client) error {
			_, err := e.Doomed(t.Context(), prune(c))
			return err
		}},
		{"deleting", func(e *engine.Engine, c *cluster.Client) error {
			result, err := e.Prune(t.Context(), prune(c))
			if len(result.Failed) != objects {
				t.Errorf("%d of %d objects stay to be deleted", len(result.Failed), objects)
			}
			return err
		}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			client, waited := clustertest.Silent(t)
			err := tt.work(engine.New(livestate.New(client, livestate.Options{}), engine.Options{Parallel: parallel}), client)
			if !cluster.TimedOut(err) {
				t.Errorf("got %v", err)
			}
			if n := waited.Load(); n > parallel {
				t.Errorf("%d requests were waited for, want those of one moment: %d", n, parallel)
			}
			if text := err.Error(); strings.Count(text, "\n") > 1 {
				t.Errorf("the message names more than one object: %s", text)
			}
		})
	}
}
