package release_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/keys"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
	"github.com/sluice-gitops/sluice/test/controlplane"
)

// server is the control plane that all tests of the package share.
var server *rest.Config

func TestMain(m *testing.M) {
	os.Exit(controlplane.Main(m, controlplane.Options{NoNodes: true}, func(c *controlplane.ControlPlane) { server = c.RESTConfig() }))
}

// errKilled is what every request of a killed applier gets.
var errKilled = errors.New("killed")

// killer lets a number of requests through, and then none.
type killer struct {
	rest http.RoundTripper
	left atomic.Int64
}

func (k *killer) RoundTrip(r *http.Request) (*http.Response, error) {
	if k.left.Add(-1) < 0 {
		return nil, errKilled
	}
	return k.rest.RoundTrip(r)
}

// keyring and owner are what appliers seal with.
var (
	keyring = seal.NewKeyringData()
	owner   = seal.Identity{Cluster: "local", Kind: "HelmRelease", Namespace: "apps", Name: appName, UID: "uid"}
)

func ring(t *testing.T, data map[string][]byte) *keys.Ring {
	t.Helper()
	parsed, err := seal.ParseKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	return keys.Fixed(parsed)
}

// applier is a process: connections and caches of its own.
type applier struct {
	client *cluster.Client
	store  *helmstore.Store
	killer *killer
}

func newApplier(t *testing.T, namespace string, requests int64) applier {
	t.Helper()
	k := &killer{}
	k.left.Store(requests)
	config := rest.CopyConfig(server)
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		k.rest = rt
		return k
	})
	c, err := cluster.New(config, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	return applier{client: client, store: helmstore.New(client.Secrets(namespace), namespace, ring(t, keyring), owner), killer: k}
}

const appName = "app"

// revision is what is run: objects, and hooks before and after.
func revision(namespace string, version int, names ...string) *helmstore.Record {
	var manifest strings.Builder
	for _, name := range names {
		fmt.Fprintf(&manifest, "---\n# Source: a\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {version: %q}\n", name, fmt.Sprint(version))
	}
	fmt.Fprintf(&manifest, "---\n# Source: b\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: awaited, annotations: {version: %q}}\n"+
		"spec: {replicas: 0, selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a}}, spec: {containers: [{name: a, image: example.com/a}]}}}\n", fmt.Sprint(version))
	var hooks []*helmrelease.Hook
	for i, event := range []helmrelease.HookEvent{
		helmrelease.HookPreInstall, helmrelease.HookPostInstall, helmrelease.HookPreUpgrade, helmrelease.HookPostUpgrade,
		helmrelease.HookPreRollback, helmrelease.HookPostRollback, helmrelease.HookPreDelete, helmrelease.HookPostDelete, helmrelease.HookTest,
	} {
		hook := &helmrelease.Hook{
			Name: "hook-" + string(event), Kind: "ConfigMap", Path: "hook", Events: []helmrelease.HookEvent{event},
			Manifest: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: hook-" + string(event) + "}\n",
		}
		if i%2 == 1 {
			hook.DeletePolicies = []helmrelease.HookDeletePolicy{helmrelease.HookSucceeded}
		}
		hooks = append(hooks, hook)
	}
	return &helmstore.Record{Release: &helmrelease.Release{
		Name: appName, Namespace: namespace, Version: version, Manifest: manifest.String(), Hooks: hooks,
		Chart: &chart.Chart{Metadata: &chart.Metadata{Name: "a", Version: "1.0.0"}}, Info: &helmrelease.Info{},
	}}
}

// act begins an action, or goes on with it, as a worker does at each check; done when it is over.
func (a applier) act(ctx context.Context, namespace, action string) (done bool, err error) {
	all, err := a.store.List(ctx, appName)
	if err != nil {
		return false, err
	}
	runner := release.Runner{Client: a.client, Store: a.store, Options: release.Options{
		Timeout: time.Minute, CRDPolicy: release.CreateReplaceCRDs, CRDs: []*chart.File{{Name: "crd.yaml", Data: definition(namespace)}},
	}}
	var at *helmstore.Record
	if len(all) > 0 {
		at = all[len(all)-1]
	}
	if at == nil && action == release.Uninstall {
		return true, nil
	}
	if at == nil || at.Run == nil || at.Run.Over {
		run := helmstore.Run{Action: action, Owner: namespace + "/" + appName, UID: "uid"}
		if action == release.Test && tested(at) {
			return true, nil
		}
		if action != release.Uninstall && action != release.Test {
			if at = next(namespace, action, all); at == nil {
				return true, nil
			}
			all = append(all, at)
		}
		if action == release.Install || action == release.Upgrade {
			if progress, err := runner.Definitions(ctx); err != nil || !progress.Done {
				return false, err
			}
		}
		if err := runner.Begin(ctx, at, run); err != nil {
			return false, err
		}
	}
	progress, err := runner.Step(ctx, at, all)
	return progress.Done, err
}

// definition is a CRD, with a group for each namespace.
func definition(namespace string) []byte {
	return fmt.Appendf(nil, `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: toys.%[1]s.example.com}
spec:
  group: %[1]s.example.com
  scope: Namespaced
  names: {kind: Toy, listKind: ToyList, plural: toys, singular: toy}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`, namespace)
}

// tested says whether the tests of a revision have run.
func tested(r *helmstore.Record) bool {
	return slices.ContainsFunc(r.Hooks, func(h *helmrelease.Hook) bool {
		return h.Events[0] == helmrelease.HookTest && h.LastRun.Phase == helmrelease.HookPhaseSucceeded
	})
}

// next is the revision that an action makes; nil when it was made.
func next(namespace, action string, all []*helmstore.Record) *helmstore.Record {
	switch version := len(all) + 1; {
	case action == release.Install && version == 1:
		return revision(namespace, 1, "one", "two")
	case action == release.Upgrade && version == 2:
		return revision(namespace, 2, "two", "three")
	case action == release.Rollback && version == 3:
		back := revision(namespace, 3, "one", "two")
		back.Info.Description = "Rollback to 1"
		return back
	}
	return nil
}

// TestKilled kills an applier after each request of each action, definitions, waits and tests included. The next one goes on,
// and the end is as if nobody had died.
func TestKilled(t *testing.T) {
	steps := []struct {
		action  string
		objects []string
		history []string
	}{
		{release.Install, []string{"hook-pre-install", "one=1", "two=1"}, []string{"deployed: Install complete"}},
		{release.Test, []string{"hook-pre-install", "hook-test", "one=1", "two=1"}, []string{"deployed: Install complete"}},
		{
			release.Upgrade, []string{"hook-pre-install", "hook-pre-upgrade", "hook-test", "three=2", "two=2"},
			[]string{"superseded: Install complete", "deployed: Upgrade complete"},
		},
		{
			release.Rollback, []string{"hook-pre-install", "hook-pre-rollback", "hook-pre-upgrade", "hook-test", "one=3", "two=3"},
			[]string{"superseded: Install complete", "superseded: Upgrade complete", "deployed: Rollback to 1"},
		},
		{release.Uninstall, []string{"hook-pre-delete", "hook-pre-install", "hook-pre-rollback", "hook-pre-upgrade", "hook-test"}, nil},
	}
	kills := map[string]int{}
	for victim := range steps {
		for requests := int64(0); ; requests++ {
			namespace := fmt.Sprintf("killed-%d-%d", victim, requests)
			makeNamespace(t, namespace)
			whole := newApplier(t, namespace, 1<<40)
			for _, s := range steps[:victim] {
				finish(t, whole, namespace, s.action)
			}
			s := steps[victim]
			dying := newApplier(t, namespace, requests)
			done, err := dying.until(t.Context(), namespace, s.action)
			survived := err == nil && done
			if !survived && !errors.Is(err, errKilled) {
				t.Fatalf("%s after %d requests: %v", s.action, requests, err)
			}
			finish(t, newApplier(t, namespace, 1<<40), namespace, s.action)
			if diff := cmp.Diff(s.objects, objectsIn(t, whole, namespace)); diff != "" {
				t.Errorf("%s killed after %d requests: objects (-want +got):\n%s", s.action, requests, diff)
			}
			if diff := cmp.Diff(s.history, historyIn(t, whole)); diff != "" {
				t.Errorf("%s killed after %d requests: history (-want +got):\n%s", s.action, requests, diff)
			}
			if survived {
				break
			}
			kills[s.action]++
		}
	}
	t.Logf("killed after each request: %v", kills)
	for _, s := range steps {
		least := 8
		if s.action == release.Test {
			least = 4
		}
		if kills[s.action] < least {
			t.Errorf("%s was killed at %d points only", s.action, kills[s.action])
		}
	}
}

// finish goes on with an action until it is over.
func finish(t *testing.T, a applier, namespace, action string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := a.until(ctx, namespace, action); err != nil {
		t.Fatalf("%s: %v", action, err)
	}
}

// until goes on with an action until it is over or fails.
func (a applier) until(ctx context.Context, namespace, action string) (done bool, err error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := a.act(ctx, namespace, action); err != nil || done {
			return done, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, fmt.Errorf("%s does not end: %w", action, ctx.Err())
		}
	}
}

func makeNamespace(t *testing.T, name string) {
	t.Helper()
	a := newApplier(t, name, 1<<40)
	runner := release.Runner{Client: a.client}
	if err := runner.CreateNamespace(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

// objectsIn are the ConfigMaps of a namespace with the version they have.
func objectsIn(t *testing.T, a applier, namespace string) []string {
	t.Helper()
	var out []string
	for _, name := range []string{
		"one", "two", "three", "hook-pre-install", "hook-post-install", "hook-pre-upgrade", "hook-post-upgrade",
		"hook-pre-rollback", "hook-post-rollback", "hook-pre-delete", "hook-post-delete", "hook-test",
	} {
		u, err := a.client.Get(t.Context(), cluster.Ref{Version: "v1", Kind: "ConfigMap", Namespace: namespace, Name: name})
		if cluster.IsGone(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := u.Object["data"].(map[string]any); ok {
			name += fmt.Sprintf("=%v", data["version"])
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func historyIn(t *testing.T, a applier) []string {
	t.Helper()
	all, err := a.store.List(t.Context(), appName)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range all {
		out = append(out, r.Info.Status.String()+": "+r.Info.Description)
	}
	return out
}
