package helm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// exists accepts an object that is there.
func exists(u *unstructured.Unstructured) bool { return u != nil }

// TestDriftSeen puts back, reports or leaves what others change, as it happens: the interval of these
// releases is an hour, and nobody asks for a pass.
func TestDriftSeen(t *testing.T) {
	chart := webChart()
	chart["web/templates/hook.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-hook, annotations: {helm.sh/hook: post-install}}\ndata: {a: b}\n"
	n := newTenant(t, "seen", chart)
	n.release("web", "web", `values: {message: one, extra: true}
driftDetection: {mode: enabled, ignore: [{paths: [/spec/replicas], target: {kind: Deployment}}]}
`)
	n.ready("web")
	n.await(releaseKind, "web", says("Drifted", "False", "NoDriftDetected", "No drift detected"))

	began := time.Now()
	n.patch(harness.ConfigMapKind, "web", `{"data":{"message":"edited","added":"by hand"}}`)
	n.await(harness.ConfigMapKind, "web", all(holds("message", "one"), holds("added", "by hand")))
	t.Logf("an edit is put back after %s", time.Since(began).Round(time.Millisecond))

	began = time.Now()
	if err := n.Delete(within(t), harness.ConfigMapKind, "web-extra"); err != nil {
		t.Fatal(err)
	}
	n.await(harness.ConfigMapKind, "web-extra", exists)
	t.Logf("a deleted object is back after %s", time.Since(began).Round(time.Millisecond))

	// What is left to others stays; that the pass is over shows in what is put back with it.
	n.patch(harness.DeploymentKind, "web", `{"spec":{"replicas":3,"revisionHistoryLimit":3}}`)
	n.await(harness.DeploymentKind, "web", func(u *unstructured.Unstructured) bool {
		replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
		return replicas == 3
	})
	n.patch(harness.DeploymentKind, "web", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"example.com/other"}]}}}}`)
	n.await(harness.DeploymentKind, "web", func(u *unstructured.Unstructured) bool {
		containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
		replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
		if replicas != 3 {
			t.Errorf("the replicas, which are left to others, are %d", replicas)
		}
		return strings.HasPrefix(containers[0].(map[string]any)["image"].(string), "example.com/web:")
	})

	// An object that opts out is left alone until it does not any more; hooks are nobody's drift.
	n.patch(harness.ConfigMapKind, "web", `{"metadata":{"annotations":{"helm.toolkit.fluxcd.io/driftDetection":"disabled"}}}`)
	n.patch(harness.ConfigMapKind, "web", `{"data":{"message":"mine"}}`)
	n.patch(harness.ConfigMapKind, "web-hook", `{"data":{"a":"mine"}}`)
	n.patch(harness.ConfigMapKind, "web-extra", `{"data":{"a":"edited"}}`)
	n.await(harness.ConfigMapKind, "web-extra", holds("a", "b"))
	n.await(harness.ConfigMapKind, "web", holds("message", "mine"))
	n.await(harness.ConfigMapKind, "web-hook", holds("a", "mine"))
	n.patch(harness.ConfigMapKind, "web", `{"metadata":{"annotations":{"helm.toolkit.fluxcd.io/driftDetection":null}}}`)
	n.await(harness.ConfigMapKind, "web", holds("message", "one"))
	if h := history(t, n.Namespace, "web"); len(h) != 1 {
		t.Errorf("drift made the history %v", h)
	}

	n.patch(releaseKind, "web", `{"spec":{"driftDetection":{"mode":"warn"}}}`)
	n.ready("web")
	n.patch(harness.ConfigMapKind, "web", `{"data":{"message":"edited"}}`)
	n.await(releaseKind, "web", says("Drifted", "True", "DriftDetected", "ConfigMap/"+n.Namespace+"/web changed (0 additions, 1 changes, 0 removals)"))
	n.await(harness.ConfigMapKind, "web", holds("message", "edited"))
	n.patch(harness.ConfigMapKind, "web", `{"data":{"message":"one"}}`)
	n.await(releaseKind, "web", says("Drifted", "False", "NoDriftDetected", ""))
}

// TestDriftRestart shows that neither a pass nor a restart asks about objects that are as they were applied,
// and that an edit made while nobody watched is put back after it.
func TestDriftRestart(t *testing.T) {
	n := newTenant(t, "restart", webChart())
	n.release("web", "web", "values: {message: one, extra: true}\ndriftDetection: {mode: enabled}\n")
	n.ready("web")
	n.await(releaseKind, "web", says("Drifted", "False", "NoDriftDetected", ""))
	quiet := n.quiesce("web")
	from := time.Now()
	n.request("web", "one")
	n.silent("a pass over a release that is as it was applied", from)

	if err := world.Sluice.Process.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	n.patch(harness.ConfigMapKind, "web-extra", `{"data":{"a":"edited"}}`)
	from = time.Now()
	if err := world.Sluice.Restart(within(t)); err != nil {
		t.Fatal(err)
	}
	n.await(harness.ConfigMapKind, "web-extra", holds("a", "b"))
	n.request("web", "two")
	n.silent("a restart", from, "web-extra")
	if now := n.quiesce("web"); now != quiet {
		t.Errorf("the restart wrote the Deployment: generation %d, then %d", quiet, now)
	}
}

// request asks for a pass and waits until it is over.
func (n tenant) request(name, token string) {
	n.t.Helper()
	n.patch(releaseKind, name, fmt.Sprintf(`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, token))
	n.await(releaseKind, name, func(u *unstructured.Unstructured) bool {
		handled, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
		return handled == token
	})
}

// quiesce waits until a Deployment is rolled out, so that nobody writes it any more, and returns its generation.
func (n tenant) quiesce(name string) (generation int64) {
	n.t.Helper()
	n.await(harness.DeploymentKind, name, func(u *unstructured.Unstructured) bool {
		generation = u.GetGeneration()
		_, reason, _ := harness.Condition(u, "Progressing")
		return reason == "NewReplicaSetAvailable"
	})
	return generation
}

// silent fails if sluice asked about objects of the tenant, other than those that are named.
func (n tenant) silent(why string, from time.Time, but ...string) {
	n.t.Helper()
	all, err := world.Plane.Requests(from, time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	seen := 0
	for _, r := range all {
		if r.Namespace != n.Namespace || !strings.HasPrefix(r.UserAgent, "sluice") {
			continue
		}
		seen++
		if (r.Resource == "configmaps" || r.Resource == "deployments") && !slices.Contains(but, r.Name) {
			n.t.Errorf("%s: %s %s %s", why, r.Verb, r.Resource, r.Name)
		}
	}
	if seen == 0 {
		n.t.Errorf("%s: none of the requests is sluice's: their user agent is another one", why)
	}
}
