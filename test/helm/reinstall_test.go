package helm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReinstallAgain has another chart take the place of one whose uninstall fails at first. That is begun again until it
// succeeds, and what is left is not upgraded meanwhile.
func TestReinstallAgain(t *testing.T) {
	files := webChart()
	for name, body := range webChart() {
		files["other"+strings.TrimPrefix(name, "web")] = strings.Replace(body, "name: web\nversion", "name: other\nversion", 1)
	}
	n := newTenant(t, "reinstall-again", files)
	gate := n.Namespace + "-gate"
	hook := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: gate, namespace: " + gate + ", annotations: {helm.sh/hook: pre-delete}}\n"
	if err := n.Push(within(t), map[string]string{"web/templates/gate.yaml": hook}); err != nil {
		t.Fatal(err)
	}
	n.release("app", "web", "")
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"chart":{"spec":{"chart":"./other"}}}}`)
	n.await(releaseKind, "app", says("Released", "False", "UninstallFailed", "Helm uninstall failed for release "+n.Namespace+"/app.v1 with chart web@0.1.0"))
	if err := world.Namespace(within(t), gate); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "app", all(says("Ready", "True", "InstallSucceeded", "with chart other@0.1.0"), current))
	if diff := cmp.Diff([]string{"deployed: Install complete"}, history(t, n.Namespace, "app")); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}
