package helm

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestStatusLost plays an applier that stored how an upgrade ended, and died before the status said so: the
// next one says it, and does not upgrade again.
func TestStatusLost(t *testing.T) {
	for _, c := range []struct {
		name, values string
		ended        func(*unstructured.Unstructured) bool
		history      []string
		failures     int64
	}{
		{
			"succeeded", `{"value":"b"}`, says("Ready", "True", "UpgradeSucceeded", ""),
			[]string{"superseded: Install complete", "deployed: Upgrade complete"}, 0,
		},
		{
			"failed", `{"stuck":true}`, says("Stalled", "True", "RetriesExceeded", "Failed to upgrade after 1 attempt(s)"), nil, 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newTenant(t, "lost-"+c.name, moodyChart())
			n.release("app", "moody", "timeout: 5s\n")
			before := n.ready("app")
			n.patch(releaseKind, "app", `{"spec":{"values":`+c.values+`}}`)
			n.await(releaseKind, "app", all(c.ended, current))
			stored := history(t, n.Namespace, "app")
			if err := world.Sluice.Process.Stop(30 * time.Second); err != nil {
				t.Fatal(err)
			}
			n.forget("app", before)
			if err := world.Sluice.Restart(within(t)); err != nil {
				t.Fatal(err)
			}
			after := n.await(releaseKind, "app", all(c.ended, current))
			if diff := cmp.Diff(stored, history(t, n.Namespace, "app")); diff != "" {
				t.Errorf("the release was upgraded again (-before +after the restart):\n%s", diff)
			}
			if c.history != nil {
				if diff := cmp.Diff(c.history, stored); diff != "" {
					t.Errorf("history (-want +got):\n%s", diff)
				}
			}
			if list, _, _ := unstructured.NestedSlice(after.Object, "status", "history"); len(list) != 2 {
				t.Errorf("the status has %d revisions, want 2: %v", len(list), list)
			}
			if failures, _, _ := unstructured.NestedInt64(after.Object, "status", "upgradeFailures"); failures != c.failures {
				t.Errorf("the status counts %d failures, want %d", failures, c.failures)
			}
		})
	}
}

// TestSupersededLost plays an applier that ended an upgrade because another is wanted, and died before the status
// said so. The next one upgrades, and still knows what to roll back to when that fails.
func TestSupersededLost(t *testing.T) {
	n := newTenant(t, "lost-superseded", moodyChart())
	n.release("app", "moody", "upgrade: {remediation: {remediateLastFailure: true}}\n")
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"values":{"stuck":true}}}`)
	before := n.await(releaseKind, "app", says("Reconciling", "True", "Progressing", "Running 'upgrade' action"))
	n.patch(releaseKind, "app", `{"spec":{"timeout":"6s","values":{"stuck":true,"value":"b"}}}`)
	n.await(secretKind, "sh.helm.release.v1.app.v3", exists)
	world.Sluice.Process.Kill()
	<-world.Sluice.Process.Done()
	if err := n.Delete(within(t), secretKind, "sh.helm.release.v1.app.v3"); err != nil {
		t.Fatal(err)
	}
	n.forget("app", before)
	if err := world.Sluice.Restart(within(t)); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "app", all(says("Stalled", "True", "", ""), current))
	want := []string{"superseded", "failed: Superseded before its resources were ready", "failed", "deployed: Rollback to 1"}
	if diff := cmp.Diff(want, outline(history(t, n.Namespace, "app"), want)); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// TestOutage kills an applier within an upgrade, and starts it after the time that the upgrade had.
func TestOutage(t *testing.T) {
	n := newTenant(t, "outage", moodyChart())
	n.release("app", "moody", "timeout: 6s\n")
	n.ready("app")
	n.patch(jobKind, "app-pre", `{"metadata":{"finalizers":["example.com/hold"]}}`)
	n.patch(releaseKind, "app", `{"spec":{"values":{"value":"b"}}}`)
	n.await(jobKind, "app-pre", func(u *unstructured.Unstructured) bool { return u.GetDeletionTimestamp() != nil })
	world.Sluice.Process.Kill()
	<-world.Sluice.Process.Done()
	n.patch(jobKind, "app-pre", `{"metadata":{"finalizers":null}}`)
	<-time.After(7 * time.Second) // until the time that the upgrade had is over
	if err := world.Sluice.Restart(within(t)); err != nil {
		t.Fatal(err)
	}
	u := n.await(releaseKind, "app", func(u *unstructured.Unstructured) bool {
		return current(u) && (says("Ready", "True", "", "")(u) || says("Stalled", "True", "", "")(u))
	})
	if !says("Ready", "True", "UpgradeSucceeded", "app.v2")(u) {
		t.Errorf("after the outage: %s", harness.Describe(u))
	}
}

// forget gives an object the status that it had before.
func (n tenant) forget(name string, before *unstructured.Unstructured) {
	n.t.Helper()
	body, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/status", "value": before.Object["status"]}})
	if err != nil {
		n.t.Fatal(err)
	}
	r, err := n.Cluster.Resource(releaseKind, n.Namespace)
	if err == nil {
		_, err = r.Patch(within(n.t), name, types.JSONPatchType, body, metav1.PatchOptions{}, "status")
	}
	if err != nil {
		n.t.Fatal(err)
	}
}
