package livestate_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster/clustertest"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"github.com/sluice-gitops/sluice/test/controlplane"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// server is the control plane that all tests of the package share; each test has
// a namespace of its own.
var server *rest.Config

func TestMain(m *testing.M) {
	os.Exit(controlplane.Main(m, controlplane.Options{NoNodes: true}, func(c *controlplane.ControlPlane) { server = c.RESTConfig() }))
}

var errRefused = errors.New("the bus takes nothing now")

// call is one call of OnDrift.
type call struct {
	owner   cluster.Owner
	notices []livestate.Notice
}

type fixture struct {
	t         *testing.T
	client    *cluster.Client
	table     *livestate.Table
	engine    *engine.Engine
	owner     cluster.Owner
	namespace string
	foreign   dynamic.Interface
	drift     chan call
	change    chan cluster.Owner
	refuse    atomic.Int32 // how many calls back fail, from now on
}

func newFixture(t *testing.T, opts livestate.Options) *fixture {
	t.Helper()
	return newFixtureOn(t, server, opts)
}

// newFixtureOn talks to the API server by a configuration of its own; edits by
// others take the direct way.
func newFixtureOn(t *testing.T, config *rest.Config, opts livestate.Options) *fixture {
	t.Helper()
	f := &fixture{t: t, drift: make(chan call, 256), change: make(chan cluster.Owner, 256)}
	c, err := cluster.New(config, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f.client, err = c.Client(); err != nil {
		t.Fatal(err)
	}
	if f.foreign, err = dynamic.NewForConfig(server); err != nil {
		t.Fatal(err)
	}
	f.namespace = clustertest.Namespace(t, f.client)
	f.owner = cluster.Owner{Namespace: "flux-system", Name: f.namespace}
	f.start(opts)
	return f
}

// start runs a table and an engine with the fixture's client.
func (f *fixture) start(opts livestate.Options) {
	t := f.t
	opts.Logger = slog.New(slog.DiscardHandler)
	opts.OnDrift = func(owner cluster.Owner, notices []livestate.Notice) error {
		if f.refuse.Add(-1) >= 0 {
			return errRefused
		}
		f.drift <- call{owner, notices}
		return nil
	}
	opts.OnChange = func(owner cluster.Owner) error {
		if f.refuse.Add(-1) >= 0 {
			return errRefused
		}
		f.change <- owner
		return nil
	}
	f.table = livestate.New(f.client, opts)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	table := f.table
	go func() { done <- table.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	f.engine = engine.New(f.table, engine.Options{StageWait: 20 * time.Second})
}

// apply applies a manifest with NS in place of the namespace and waits for the watch.
func (f *fixture) apply(manifest string) engine.Result {
	f.t.Helper()
	return f.applyAs(f.owner, manifest)
}

func (f *fixture) applyAs(owner cluster.Owner, manifest string) engine.Result {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	objects := clustertest.Objects(f.t, manifest, f.namespace)
	r, err := f.engine.Apply(ctx, engine.Request{Owner: owner, Client: f.client, Objects: objects})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.table.Synced(ctx); err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f *fixture) ref(apiVersion, kind, name string) cluster.Ref {
	return clustertest.Ref(apiVersion, kind, f.namespace, name)
}

func (f *fixture) resource(r cluster.Ref) dynamic.ResourceInterface {
	f.t.Helper()
	m, err := f.client.Cluster().Mapping(r.GVK())
	if err != nil {
		f.t.Fatal(err)
	}
	return f.foreign.Resource(m.Resource).Namespace(r.Namespace)
}

// edit patches an object, or a subresource of it, as another manager.
func (f *fixture) edit(r cluster.Ref, manager string, kind types.PatchType, patch string, subresource ...string) {
	f.t.Helper()
	clustertest.Edit(f.t, f.resource(r), r.Name, manager, kind, patch, subresource...)
}

// next returns the first notice about an object.
func (f *fixture) next(r cluster.Ref) livestate.Notice {
	f.t.Helper()
	deadline := time.After(15 * time.Second)
	for {
		select {
		case c := <-f.drift:
			for _, n := range c.notices {
				if n.Object.Same(r) {
					return n
				}
			}
		case <-deadline:
			f.t.Fatalf("nobody noticed anything about %s", r)
		}
	}
}
