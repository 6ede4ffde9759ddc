package helm

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
