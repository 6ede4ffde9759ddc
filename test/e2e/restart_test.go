package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/test/harness"
)

// A killed process comes back to what it knew: it applies nothing that is right,
// finds what changed while it was away, and takes the next push.
func TestRestart(t *testing.T) {
	n, names := newApps(t, "restart", 4)
	before := n.versions(names)

	n.restart(func() {
		n.patch(harness.ConfigMapKind, "app-1", `{"data":{"value":"by hand"}}`)
		n.remove(harness.ConfigMapKind, "app-2")
		if err := n.Write(within(t, limit), map[string]string{"app-3/settings.yaml": configMap("app-3", "second")}); err != nil {
			t.Fatal(err)
		}
	})
	n.await(harness.ConfigMapKind, "app-1", holds("value", "first"))
	n.await(harness.ConfigMapKind, "app-2", holds("value", "first"))
	n.await(harness.ConfigMapKind, "app-3", holds("value", "second"))
	n.live(names...)
	n.push(map[string]string{"app-3/settings.yaml": configMap("app-3", "third")})
	n.await(harness.ConfigMapKind, "app-3", holds("value", "third"))
	n.live(names...)

	n.quiet()

	after := n.versions(names)
	for _, changed := range []string{"app-1", "app-2", "app-3"} {
		delete(before, "ConfigMap/"+changed)
		delete(after, "ConfigMap/"+changed)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("objects were written although nothing about them changed (-before +after):\n%s", diff)
	}
}
