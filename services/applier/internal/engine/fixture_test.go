package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster/clustertest"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"github.com/sluice-gitops/sluice/test/controlplane"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// server is the control plane that all tests of the package share; each test has
// names of its own.
var server *rest.Config

func TestMain(m *testing.M) {
	os.Exit(controlplane.Main(m, controlplane.Options{NoNodes: true}, func(c *controlplane.ControlPlane) { server = c.RESTConfig() }))
}

// fixture is an engine with a running live table and a namespace of its own.
type fixture struct {
	t         *testing.T
	cluster   *cluster.Cluster
	client    *cluster.Client
	table     *livestate.Table
	engine    *engine.Engine
	owner     cluster.Owner
	namespace string
	foreign   dynamic.Interface
	// stop ends the table's watches.
	stop func()
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t}
	var err error
	if f.cluster, err = cluster.New(server, cluster.Options{}); err != nil {
		t.Fatal(err)
	}
	if f.client, err = f.cluster.Client(); err != nil {
		t.Fatal(err)
	}
	if f.foreign, err = dynamic.NewForConfig(server); err != nil {
		t.Fatal(err)
	}
	f.namespace = clustertest.Namespace(t, f.client)
	f.owner = cluster.Owner{Namespace: "flux-system", Name: f.namespace}
	f.restart()
	return f
}

// restart gives the fixture a table that knows nothing, as a new process has it.
func (f *fixture) restart() {
	f.table = livestate.New(f.client, livestate.Options{Logger: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	table := f.table
	go func() { done <- table.Run(ctx) }()
	f.stop = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
	f.t.Cleanup(f.stop)
	f.engine = engine.New(f.table, engine.Options{})
}

// objects reads manifests separated by --- and puts the test's namespace in place of NS.
func (f *fixture) objects(manifests string) []*unstructured.Unstructured {
	f.t.Helper()
	return clustertest.Objects(f.t, manifests, f.namespace)
}

func (f *fixture) try(manifests string, change ...func(*engine.Request)) (engine.Result, error) {
	f.t.Helper()
	req := engine.Request{Owner: f.owner, Client: f.client, Objects: f.objects(manifests)}
	for _, c := range change {
		c(&req)
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	return f.engine.Apply(ctx, req)
}

func (f *fixture) apply(manifests string, change ...func(*engine.Request)) engine.Result {
	f.t.Helper()
	r, err := f.try(manifests, change...)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f *fixture) get(r cluster.Ref) *unstructured.Unstructured {
	f.t.Helper()
	u, err := f.client.Get(f.t.Context(), r)
	if err != nil {
		f.t.Fatal(err)
	}
	return u
}

func (f *fixture) exists(r cluster.Ref) bool {
	f.t.Helper()
	_, err := f.client.Get(f.t.Context(), r)
	if err != nil && !cluster.IsGone(err) {
		f.t.Fatal(err)
	}
	return err == nil
}

// synced waits until the live table has listed every kind it manages.
func (f *fixture) synced() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	if err := f.table.Synced(ctx); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) ref(apiVersion, kind, name string) cluster.Ref {
	return clustertest.Ref(apiVersion, kind, f.namespace, name)
}

// edit patches an object as another manager.
func (f *fixture) edit(r cluster.Ref, manager string, kind types.PatchType, patch string) {
	f.t.Helper()
	m, err := f.cluster.Mapping(r.GVK())
	if err != nil {
		f.t.Fatal(err)
	}
	clustertest.Edit(f.t, f.foreign.Resource(m.Resource).Namespace(r.Namespace), r.Name, manager, kind, patch)
}

func actions(r engine.Result) string {
	var parts []string
	for _, o := range r.Outcomes {
		parts = append(parts, o.Object.Kind+"/"+o.Object.Name+" "+string(o.Action))
	}
	return strings.Join(parts, ", ")
}

// through returns a client whose requests go through send.
func (f *fixture) through(send func(r *http.Request, next http.RoundTripper) (*http.Response, error)) *cluster.Client {
	f.t.Helper()
	config := rest.CopyConfig(server)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) { return send(r, next) })
	})
	c, err := cluster.New(config, cluster.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	client, err := c.Client()
	if err != nil {
		f.t.Fatal(err)
	}
	return client
}

var errClaimLost = errors.New("claim lost")

// losing gives a request a guard that holds for so many calls. Then another applier, which has the claim, applies the same.
func (f *fixture) losing(held int) func(*engine.Request) {
	return func(r *engine.Request) {
		r.Guard = func(ctx context.Context) error {
			if held--; held >= 0 {
				return nil
			}
			other := *r
			other.Guard = nil
			_, err := engine.New(f.table, engine.Options{}).Apply(ctx, other)
			return errors.Join(errClaimLost, err)
		}
	}
}
