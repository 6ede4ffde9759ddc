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

// TestSuspended leaves a suspended release alone, whatever is asked and pushed: one that was never made, and one that was.
func TestSuspended(t *testing.T) {
	n := newTenant(t, "suspended", webChart())
	n.release("never", "web", "suspend: true\n")
	n.release("app", "web", "values: {message: one}\ndriftDetection: {mode: enabled}\n")
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"suspend":true}}`)
	n.release("later", "web", "") // once this is there, the suspension was seen
	n.ready("later")
	before, _, _ := unstructured.NestedSlice(n.await(releaseKind, "app", exists).Object, "status", "conditions")
	n.patch(harness.ConfigMapKind, "app", `{"data":{"message":"edited"}}`)
	n.patch(releaseKind, "app", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}},"spec":{"values":{"message":"two"}}}`)
	n.release("other", "web", "values: {message: other}\n")
	n.ready("other")
	after := n.await(releaseKind, "app", exists)
	conditions, _, _ := unstructured.NestedSlice(after.Object, "status", "conditions")
	if diff := cmp.Diff(before, conditions); diff != "" {
		t.Errorf("conditions of a suspended release (-before +after):\n%s", diff)
	}
	n.await(harness.ConfigMapKind, "app", holds("message", "edited"))
	never := n.await(releaseKind, "never", exists)
	if diff := cmp.Diff(map[string]any{"observedGeneration": int64(-1)}, never.Object["status"]); diff != "" {
		t.Errorf("status of a release that was always suspended (-want +got):\n%s", diff)
	}
	n.unreleased("never")
	n.patch(releaseKind, "app", `{"spec":{"suspend":false}}`)
	n.await(harness.ConfigMapKind, "app", holds("message", "two"))
	n.ready("app")
	if h := history(t, n.Namespace, "app"); len(h) != 2 {
		t.Errorf("helm history: %v", h)
	}
}
