package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/controlplane"
	"github.com/sluice-gitops/sluice/test/harness"
)

// A push reaches the cluster through the webhook, and what the commit does not
// change is left alone: not applied, not even asked about.
func TestPush(t *testing.T) {
	n, names := newApps(t, "push", 5)
	before := n.versions(names)

	start := time.Now()
	n.push(map[string]string{"app-2/settings.yaml": configMap("app-2", "second")})
	took := n.await(harness.ConfigMapKind, "app-2", holds("value", "second"))
	t.Logf("live after %s", took)
	n.live(names...)
	end := time.Now()

	after := n.versions(names)
	delete(before, "ConfigMap/app-2")
	delete(after, "ConfigMap/app-2")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("objects that the commit left alone were written (-before +after):\n%s", diff)
	}
	n.checkRequests(start, end, "app-2")
	n.checkStatus("app-2")
	n.checkHistory("app-2")
}

// newApps makes a tenant with applications named app-0 and so on, of a ConfigMap and a Deployment each, that are live and quiet.
func newApps(t *testing.T, namespace string, count int) (n tenant, names []string) {
	t.Helper()
	files := map[string]string{}
	for i := range count {
		name := fmt.Sprintf("app-%d", i)
		names = append(names, name)
		files[name+"/settings.yaml"] = configMap(name, "first")
		files[name+"/workload.yaml"] = deployment(name, 0)
	}
	n = newTenant(t, namespace, files)
	for _, name := range names {
		n.app(name, nil)
	}
	n.live(names...)
	n.quiet()
	return n, names
}

func (n tenant) versions(names []string) map[string]string {
	versions := map[string]string{}
	for _, name := range names {
		versions["ConfigMap/"+name] = n.version(harness.ConfigMapKind, name)
		versions["Deployment/"+name] = n.version(harness.DeploymentKind, name)
	}
	return versions
}

// quiet waits until nobody has written to the namespace's managed objects, or
// asked about them, for some seconds: new Deployments get their status when the
// controller manager gets to them, and sluice looks whether that was drift.
func (n tenant) quiet() {
	n.t.Helper()
	const still = 3 * time.Second
	err := harness.Until(within(n.t, limit), 200*time.Millisecond, func(context.Context) (bool, error) {
		requests, err := n.Plane.Requests(time.Now().Add(-still), time.Now())
		return !slices.ContainsFunc(requests, n.onManaged), err
	})
	if err != nil {
		n.t.Fatalf("wait for quiet in %s: %v", n.Namespace, err)
	}
}

// checkRequests fails for every request that sluice made about managed objects
// other than those of one app.
func (n tenant) checkRequests(from, to time.Time, app string) {
	n.t.Helper()
	requests, err := n.Plane.Requests(from, to)
	if err != nil {
		n.t.Fatal(err)
	}
	applied := 0
	for _, r := range requests {
		if !n.onManaged(r) || !strings.HasPrefix(r.UserAgent, "sluice") {
			continue
		}
		if r.Name != app {
			n.t.Errorf("a commit that changes %s led to %s %s %s/%s by %s", app, r.Verb, r.Resource, r.Namespace, r.Name, r.UserAgent)
			continue
		}
		if r.Verb == "patch" {
			applied++
		}
	}
	if applied == 0 {
		n.t.Errorf("the request log shows no apply of %s", app)
	}
}

// onManaged says whether a request is about an object that the tests' apps are made of.
func (n tenant) onManaged(r controlplane.Request) bool {
	resource, _, _ := strings.Cut(r.Resource, "/")
	return r.Verb != "watch" && r.Namespace == n.Namespace && r.UserAgent != harness.Manager &&
		slices.Contains([]string{"configmaps", "deployments"}, resource)
}

// checkStatus compares what flux and kubectl would show.
func (n tenant) checkStatus(app string) {
	n.t.Helper()
	ks := n.get(harness.KustomizationKind, app)
	for _, want := range []struct{ field, value string }{
		{"lastAppliedRevision", n.Revision()}, {"lastAttemptedRevision", n.Revision()},
	} {
		if got := text(ks, "status", want.field); got != want.value {
			n.t.Errorf("status.%s of %s is %q, want %q", want.field, app, got, want.value)
		}
	}
	status, reason, message := harness.Condition(ks, "Ready")
	want := []string{"True", "ReconciliationSucceeded", "Applied revision: " + n.Revision()}
	if diff := cmp.Diff(want, []string{status, reason, message}); diff != "" {
		n.t.Errorf("Ready of %s (-want +got):\n%s", app, diff)
	}
	if got := inventory(ks); !slices.Equal(got, []string{n.Namespace + "_" + app + "__ConfigMap", n.Namespace + "_" + app + "_apps_Deployment"}) {
		n.t.Errorf("inventory of %s is %q", app, got)
	}
	if !slices.Contains(ks.GetFinalizers(), "finalizers.fluxcd.io") {
		n.t.Errorf("%s has no finalizer: %q", app, ks.GetFinalizers())
	}
	object := n.get(harness.ConfigMapKind, app)
	labels := map[string]string{"kustomize.toolkit.fluxcd.io/name": app, "kustomize.toolkit.fluxcd.io/namespace": n.Namespace}
	if diff := cmp.Diff(labels, object.GetLabels()); diff != "" {
		n.t.Errorf("owner labels of %s (-want +got):\n%s", app, diff)
	}
}

func inventory(ks *unstructured.Unstructured) []string {
	entries, _, err := unstructured.NestedSlice(ks.Object, "status", "inventory", "entries")
	if err != nil {
		return []string{err.Error()}
	}
	ids := []string{}
	for _, entry := range entries {
		if e, isMap := entry.(map[string]any); isMap {
			ids = append(ids, fmt.Sprint(e["id"]))
		}
	}
	slices.Sort(ids)
	return ids
}

// checkHistory compares the newest events of the push with the path it took.
func (n tenant) checkHistory(app string) {
	n.t.Helper()
	var path []string
	for _, e := range history(n.t, n.Namespace) {
		switch e.Event.Type() {
		case events.TypeHookReceived, events.TypeSourceChanged, events.TypeBuildRendered, events.TypeApplySucceeded:
		default:
			continue
		}
		if e.Event.Type() == events.TypeHookReceived || strings.HasSuffix(e.Event.Subject(), "/"+harness.SourceName) || strings.HasSuffix(e.Event.Subject(), "/"+app) {
			path = append(path, e.Event.Type())
		}
	}
	want := []string{events.TypeHookReceived, events.TypeSourceChanged, events.TypeBuildRendered, events.TypeApplySucceeded}
	if len(path) < len(want) || !slices.Equal(path[len(path)-len(want):], want) {
		n.t.Errorf("the log tells of %q, which does not end in %q", path, want)
	}
}

// A file that leaves Git leaves the cluster.
func TestPrune(t *testing.T) {
	n := newTenant(t, "prune", map[string]string{
		"app/keep.yaml": configMap("keep", "1"), "app/drop.yaml": configMap("drop", "1"),
		"app/held.yaml":    strings.Replace(configMap("held", "1"), "metadata:\n", "metadata:\n  annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}\n", 1),
		"lasting/one.yaml": configMap("lasting-one", "1"), "lasting/two.yaml": configMap("lasting-two", "1"),
	})
	n.app("app", nil)
	n.app("lasting", map[string]any{"prune": false})
	n.live("app", "lasting")
	if err := n.Remove(within(t, limit), "app/drop.yaml", "app/held.yaml", "lasting/two.yaml"); err != nil {
		t.Fatal(err)
	}
	n.await(harness.ConfigMapKind, "drop", gone)
	n.live("app", "lasting")
	n.get(harness.ConfigMapKind, "keep")
	n.get(harness.ConfigMapKind, "held")
	n.get(harness.ConfigMapKind, "lasting-two")
	seeEvent(t, events.TypePruned, events.NewKey("Kustomization", n.Namespace, "app"), nil)
}

// reconcile.fluxcd.io/requestedAt asks for a pass, and the status says when it was made.
func TestRequestedAt(t *testing.T) {
	n := newTenant(t, "requested", map[string]string{"app/settings.yaml": configMap("settings", "first")})
	n.app("app", nil)
	n.live("app")
	if err := n.Write(within(t, limit), map[string]string{"app/settings.yaml": configMap("settings", "second")}); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Format(time.RFC3339Nano)
	request := fmt.Sprintf(`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, at)
	handled := func(u *unstructured.Unstructured) bool {
		return u != nil && text(u, "status", "lastHandledReconcileAt") == at
	}
	n.patch(harness.GitRepositoryKind, harness.SourceName, request)
	n.await(harness.GitRepositoryKind, harness.SourceName, handled)
	n.live("app")
	n.patch(harness.KustomizationKind, "app", request)
	n.await(harness.KustomizationKind, "app", handled)
	n.live("app")
}

// A dependent is applied after what it depends on, at every revision.
func TestDependsOn(t *testing.T) {
	n := newTenant(t, "depends", map[string]string{
		"base/settings.yaml": configMap("base", "1"), "middle/settings.yaml": configMap("middle", "1"), "top/settings.yaml": configMap("top", "1"),
	})
	n.app("top", map[string]any{"dependsOn": []any{map[string]any{"name": "middle"}}})
	n.await(harness.KustomizationKind, "top", func(u *unstructured.Unstructured) bool {
		status, reason, message := harness.Condition(u, "Ready")
		return status == "False" && reason == "DependencyNotReady" && strings.Contains(message, n.Namespace+"/middle")
	})
	n.app("middle", map[string]any{"dependsOn": []any{map[string]any{"name": "base"}}})
	n.app("base", nil)
	n.live("top", "middle", "base")
	n.checkOrder("base", "middle", "top")
	n.push(map[string]string{
		"base/settings.yaml": configMap("base", "2"), "middle/settings.yaml": configMap("middle", "2"), "top/settings.yaml": configMap("top", "2"),
	})
	n.live("top", "middle", "base")
	n.checkOrder("base", "middle", "top")
}

// checkOrder compares when each app was first applied at the newest revision.
func (n tenant) checkOrder(names ...string) {
	n.t.Helper()
	first := map[string]uint64{}
	for _, e := range history(n.t, n.Namespace) {
		if e.Event.Type() != events.TypeApplySucceeded {
			continue
		}
		done, err := events.Decode[events.ApplySucceeded](e.Event)
		if err != nil {
			n.t.Fatal(err)
		}
		if _, seen := first[done.Object.Name]; !seen && done.Revision == n.Revision() {
			first[done.Object.Name] = e.Sequence
		}
	}
	for i, name := range names {
		if first[name] == 0 {
			n.t.Errorf("no event says that %s was applied at %s", name, n.Revision())
		}
		if i > 0 && first[name] < first[names[i-1]] {
			n.t.Errorf("%s was applied before %s, which it depends on", name, names[i-1])
		}
	}
}

// Suspended objects are left as they are, and catch up when they are resumed.
func TestSuspend(t *testing.T) {
	n := newTenant(t, "suspend", map[string]string{"app/settings.yaml": configMap("settings", "first"), "witness/settings.yaml": configMap("witness", "first")})
	n.app("app", nil)
	n.app("witness", nil)
	n.live("app", "witness")
	n.patch(harness.KustomizationKind, "app", `{"spec":{"suspend":true}}`)
	n.patch(harness.ConfigMapKind, "settings", `{"data":{"value":"by hand"}}`)
	n.push(map[string]string{"app/settings.yaml": configMap("settings", "second"), "witness/settings.yaml": configMap("witness", "second")})
	n.live("witness")
	n.patch(harness.ConfigMapKind, "witness", `{"data":{"value":"by hand"}}`)
	n.await(harness.ConfigMapKind, "witness", holds("value", "second"))
	if got := text(n.get(harness.ConfigMapKind, "settings"), "data", "value"); got != "by hand" {
		t.Errorf("an object of a suspended Kustomization was changed to %q", got)
	}
	n.patch(harness.KustomizationKind, "app", `{"spec":{"suspend":false}}`)
	n.live("app")
	n.await(harness.ConfigMapKind, "settings", holds("value", "second"))
}

// A deleted Kustomization takes its objects along, unless it says otherwise.
func TestDeletion(t *testing.T) {
	cases := []struct {
		name, why string
		spec      map[string]any
		stays     bool
	}{
		{"pruned", "prune: true mirrors the deletion", nil, false},
		{"kept", "prune: false leaves objects behind", map[string]any{"prune": false}, true},
		{"orphaned", "deletionPolicy wins over prune", map[string]any{"deletionPolicy": "Orphan"}, true},
		{"deleted", "deletionPolicy wins over prune", map[string]any{"prune": false, "deletionPolicy": "Delete"}, false},
		{"awaited", "the finalizer stays until the objects are gone", map[string]any{"deletionPolicy": "WaitForTermination"}, false},
	}
	files := map[string]string{"paused/settings.yaml": configMap("paused", "1")}
	for _, c := range cases {
		files[c.name+"/settings.yaml"] = configMap(c.name, "1")
	}
	n := newTenant(t, "deletion", files)
	for _, c := range cases {
		n.app(c.name, c.spec)
	}
	n.app("paused", nil)
	n.live("paused")
	for _, c := range cases {
		n.live(c.name)
		n.remove(harness.KustomizationKind, c.name)
		n.await(harness.KustomizationKind, c.name, gone)
		if c.stays {
			n.get(harness.ConfigMapKind, c.name)
			continue
		}
		n.await(harness.ConfigMapKind, c.name, gone)
	}
	n.patch(harness.KustomizationKind, "paused", `{"spec":{"suspend":true}}`)
	n.remove(harness.KustomizationKind, "paused")
	n.await(harness.KustomizationKind, "paused", gone)
	n.get(harness.ConfigMapKind, "paused")
}

// condition says whether a condition of an object has a status, a reason and a message that holds all parts.
func condition(kind, status, reason string, parts ...string) func(*unstructured.Unstructured) bool {
	return func(u *unstructured.Unstructured) bool {
		s, r, m := harness.Condition(u, kind)
		return s == status && r == reason && containsAll(m, parts)
	}
}
