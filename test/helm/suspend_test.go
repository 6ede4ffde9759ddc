package helm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestSuspendedWithin suspends releases in the middle of an action: it ends, by another process too, as it would have,
// and nothing else begins until the release is resumed.
func TestSuspendedWithin(t *testing.T) {
	for _, c := range []struct {
		name   string
		killed bool
	}{{"alive", false}, {"killed", true}} {
		t.Run(c.name, func(t *testing.T) {
			n := newTenant(t, "suspended-"+c.name, moodyChart())
			n.release("app", "moody", "timeout: 1h\n")
			n.ready("app")
			n.patch(jobKind, "app-pre", `{"metadata":{"finalizers":["example.com/hold"]}}`)
			n.patch(releaseKind, "app", `{"spec":{"values":{"value":"b"}}}`)
			n.await(jobKind, "app-pre", func(u *unstructured.Unstructured) bool { return u.GetDeletionTimestamp() != nil })
			n.await(releaseKind, "app", says("Reconciling", "True", "Progressing", "Running 'upgrade' action"))
			n.patch(releaseKind, "app", `{"spec":{"suspend":true,"test":{"enable":true},"values":{"value":"c"}}}`)
			if c.killed {
				world.Sluice.Process.Kill()
				<-world.Sluice.Process.Done()
			}
			n.patch(jobKind, "app-pre", `{"metadata":{"finalizers":null}}`)
			if c.killed {
				if err := world.Sluice.Restart(within(t)); err != nil {
					t.Fatal(err)
				}
			}
			n.await(releaseKind, "app", all(says("Released", "True", "UpgradeSucceeded", "app.v2"), func(u *unstructured.Unstructured) bool {
				reconciling, _, _ := harness.Condition(u, "Reconciling")
				return reconciling == ""
			}))
			n.await(harness.ConfigMapKind, "app", holds("value", "b"))
			want := []string{"superseded: Install complete", "deployed: Upgrade complete"}
			if diff := cmp.Diff(want, history(t, n.Namespace, "app")); diff != "" {
				t.Errorf("helm history of the suspended release (-want +got):\n%s", diff)
			}
			n.await(jobKind, "app-test", gone)
			n.patch(releaseKind, "app", `{"spec":{"suspend":false}}`)
			n.await(harness.ConfigMapKind, "app", holds("value", "c"))
			n.ready("app")
			n.await(jobKind, "app-test", exists)
		})
	}
}
