package helm

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// gated has the charts web and other in its repository. A hook of web, of an uninstall, fails until open is called.
func gated(t *testing.T, name, event string) (n tenant, open func()) {
	t.Helper()
	gate := "gate-of-" + name
	files := webChart()
	for name, body := range webChart() {
		files["other"+strings.TrimPrefix(name, "web")] = strings.Replace(body, "name: web\nversion", "name: other\nversion", 1)
	}
	files["web/templates/gate.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: gate, namespace: " + gate + ", annotations: {helm.sh/hook: " + event + "}}\n"
	return newTenant(t, name, files), func() {
		if err := world.Namespace(within(t), gate); err != nil {
			t.Fatal(err)
		}
	}
}

// notUninstalled waits until the release app of the chart web says that its uninstall failed.
func (n tenant) notUninstalled() {
	n.t.Helper()
	n.await(releaseKind, "app", says("Released", "False", "UninstallFailed", "Helm uninstall failed for release "+n.Namespace+"/app.v1 with chart web@0.1.0"))
}

// TestReinstallAgain has another chart take the place of one whose uninstall fails at first. That is begun again until it
// succeeds, and what is left is not upgraded meanwhile.
func TestReinstallAgain(t *testing.T) {
	n, open := gated(t, "reinstall-again", "pre-delete")
	n.release("app", "web", "")
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"chart":{"spec":{"chart":"./other"}}}}`)
	n.notUninstalled()
	open()
	n.await(releaseKind, "app", all(says("Ready", "True", "InstallSucceeded", "with chart other@0.1.0"), current))
	if diff := cmp.Diff([]string{"deployed: Install complete"}, history(t, n.Namespace, "app")); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// TestReinstallTakenBack names another chart by mistake, while a hook of the uninstall of the one that runs fails, and takes
// that back: the release is upgraded, and stays when the hook would succeed. What was deleted by then is made anew.
func TestReinstallTakenBack(t *testing.T) {
	const back = `{"spec":{"chart":{"spec":{"chart":"./web"}}}}`
	for _, tt := range []struct{ how, event, patch, chart string }{
		{"back", "pre-delete", back, "web"},
		{"in-place", "pre-delete", `{"spec":{"upgrade":{"chartNameChangeStrategy":"InPlaceUpdate"}}}`, "other"},
		{"deleted", "post-delete", back, "web"},
	} {
		t.Run(tt.how, func(t *testing.T) {
			n, open := gated(t, "taken-back-"+tt.how, tt.event)
			n.release("app", "web", "")
			n.ready("app")
			before := n.await(harness.DeploymentKind, "app", exists)
			n.patch(releaseKind, "app", `{"spec":{"chart":{"spec":{"chart":"./other"}}}}`)
			n.notUninstalled()
			if tt.event == "post-delete" {
				n.await(harness.DeploymentKind, "app", gone)
			}
			n.patch(releaseKind, "app", tt.patch)
			n.await(releaseKind, "app", func(u *unstructured.Unstructured) bool { // it was judged by what is wanted now
				conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
				return slices.ContainsFunc(conditions, func(c any) bool {
					condition := c.(map[string]any)
					return condition["type"] == "Released" && condition["observedGeneration"] == u.GetGeneration()
				})
			})
			open()
			n.await(releaseKind, "app", all(says("Ready", "True", "UpgradeSucceeded", "with chart "+tt.chart+"@0.1.0"), current))
			if after := n.await(harness.DeploymentKind, "app", exists); tt.event == "pre-delete" && before.GetUID() != after.GetUID() {
				t.Errorf("the release was uninstalled and made anew, history %v", history(t, n.Namespace, "app"))
			}
		})
	}
}
