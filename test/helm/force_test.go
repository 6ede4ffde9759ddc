package helm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestForce upgrades once for each token: a release that is as it should be, and one of which nothing more is tried.
func TestForce(t *testing.T) {
	n := newTenant(t, "force", moodyChart())
	n.release("good", "moody", "")
	n.release("bad", "moody", "timeout: 2s\nvalues: {stuck: true}\n")
	n.ready("good")
	n.await(releaseKind, "bad", says("Stalled", "True", "RetriesExceeded", ""))
	for name, want := range map[string][]string{
		"good": {"superseded: Install complete", "deployed: Upgrade complete"},
		"bad":  {"failed", "failed"},
	} {
		n.patch(releaseKind, name, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"one","reconcile.fluxcd.io/forceAt":"one"}}}`)
		n.await(releaseKind, name, func(u *unstructured.Unstructured) bool {
			requested, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
			forced, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledForceAt")
			return requested == "one" && forced == "one"
		})
		n.request(name, "two")
		if diff := cmp.Diff(want, outline(history(t, n.Namespace, name), want)); diff != "" {
			t.Errorf("%s: helm history (-want +got):\n%s", name, diff)
		}
	}
}
