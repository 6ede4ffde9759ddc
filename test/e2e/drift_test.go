package e2e

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
)

// driftLimit is generous: the benchmark holds the figure, this test the behaviour.
const driftLimit = 10 * time.Second

// What somebody changes by hand is put back long before the interval.
func TestDrift(t *testing.T) {
	n := newTenant(t, "drift", map[string]string{
		"app/settings.yaml": configMap("settings", "good"), "app/workload.yaml": deployment("workload", 0),
		"app/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata:\n  name: password\nstringData:\n  password: right\n",
	})
	n.app("app", nil)
	n.live("app")
	secret := schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	replicas := func(want int64) func(*unstructured.Unstructured) bool {
		return func(u *unstructured.Unstructured) bool {
			if u == nil {
				return false
			}
			got, _, err := unstructured.NestedInt64(u.Object, "spec", "replicas")
			return err == nil && got == want
		}
	}
	for _, c := range []struct {
		name, why string
		kind      schema.GroupVersionKind
		object    string
		edit      func()
		good      func(*unstructured.Unstructured) bool
	}{
		{"value", "a hand edit", harness.ConfigMapKind, "settings",
			func() { n.patch(harness.ConfigMapKind, "settings", `{"data":{"value":"bad"}}`) }, holds("value", "good")},
		{"key", "a removed field", harness.ConfigMapKind, "settings",
			func() { n.patch(harness.ConfigMapKind, "settings", `{"data":{"value":null}}`) }, holds("value", "good")},
		{"extra", "a field added with kubectl", harness.ConfigMapKind, "settings",
			func() { n.patch(harness.ConfigMapKind, "settings", `{"data":{"extra":"by hand"}}`) },
			func(u *unstructured.Unstructured) bool { return u != nil && text(u, "data", "extra") == "" }},
		{"secret", "a Secret's value, which Git has as stringData", secret, "password",
			func() { n.patch(secret, "password", `{"data":{"password":"d3Jvbmc="}}`) }, holds("password", "cmlnaHQ=")},
		{"label", "the owner label, by which the object is watched", harness.ConfigMapKind, "settings",
			func() {
				n.patch(harness.ConfigMapKind, "settings", `{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":null}}}`)
			},
			func(u *unstructured.Unstructured) bool {
				return u != nil && u.GetLabels()["kustomize.toolkit.fluxcd.io/name"] == "app"
			}},
		{"scale", "a Deployment scaled through the subresource", harness.DeploymentKind, "workload",
			func() { n.patch(harness.DeploymentKind, "workload", `{"spec":{"replicas":3}}`, "scale") }, replicas(0)},
		{"deleted", "a deleted object", harness.ConfigMapKind, "settings",
			func() { n.remove(harness.ConfigMapKind, "settings") }, holds("value", "good")},
		{"again", "the same edit as before is drift again", harness.ConfigMapKind, "settings",
			func() { n.patch(harness.ConfigMapKind, "settings", `{"data":{"value":"bad"}}`) }, holds("value", "good")},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := tenant{n.Tenant, t}
			c.edit()
			took := own.awaitWithin(driftLimit, c.kind, c.object, c.good)
			t.Logf("%s: reverted after %s", c.why, took)
		})
	}
	app := events.NewKey("Kustomization", n.Namespace, "app")
	seeEvent(t, events.TypeDriftDetected, app, nil)
	seeEvent(t, events.TypeDriftCorrected, app, nil)
	n.live("app")
}
