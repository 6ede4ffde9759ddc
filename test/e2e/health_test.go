package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
)

// A Kustomization with wait is Ready when its objects are, not when they are
// applied. The cluster has no nodes, so pods get ready when the test says so.
func TestWait(t *testing.T) {
	for _, c := range []struct {
		name, why string
		spec      map[string]any
	}{
		{"wait", "everything applied is waited for", map[string]any{"wait": true}},
		{"checks", "only what healthChecks name is waited for", map[string]any{"healthChecks": []any{
			map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "workload", "namespace": "e2e-health-checks"},
		}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newTenant(t, "health-"+c.name, map[string]string{"app/workload.yaml": deployment("workload", 1), "app/settings.yaml": configMap("settings", "first")})
			n.app("app", c.spec)
			n.await(harness.KustomizationKind, "app", condition("Healthy", "Unknown", "Progressing", "Running health checks"))
			if harness.Ready(n.get(harness.KustomizationKind, "app"), "") {
				t.Error("Ready although a Deployment is not")
			}
			n.readyPod("workload")
			n.live("app")
			n.await(harness.KustomizationKind, "app", condition("Healthy", "True", "Succeeded", "Health check passed"))
			healthy := events.NewKey("Kustomization", n.Namespace, "app")
			seeEvent(t, events.TypeHealth, healthy, func(e harness.Entry) bool {
				data, err := events.Decode[events.Health](e.Event)
				return err == nil && data.Healthy
			})
		})
	}
}

// A newer revision does not wait for the health of an older one.
func TestWaitSuperseded(t *testing.T) {
	n := newTenant(t, "superseded", map[string]string{"app/workload.yaml": deployment("workload", 1)})
	n.app("app", map[string]any{"wait": true})
	n.await(harness.KustomizationKind, "app", condition("Healthy", "Unknown", "Progressing", "Running health checks"))
	n.push(map[string]string{"app/workload.yaml": deployment("workload", 0)})
	n.live("app")
}

// What does not get ready in time is reported, by name, and tried again.
func TestWaitTimeout(t *testing.T) {
	n := newTenant(t, "timeout", map[string]string{"app/workload.yaml": deployment("workload", 1)})
	n.app("app", map[string]any{"wait": true, "timeout": "1s"})
	// the floor of the timeout is 30 s
	n.awaitWithin(2*limit, harness.KustomizationKind, "app",
		condition("Ready", "False", "HealthCheckFailed", "timeout waiting for", fmt.Sprintf("Deployment/%s/workload", n.Namespace)))
	n.readyPod("workload")
	n.live("app")
}

// readyPod waits for a pod of a Deployment and says in its status that it is ready.
func (n tenant) readyPod(app string) {
	n.t.Helper()
	ctx := within(n.t, limit)
	pods, err := n.Cluster.Resource(harness.PodKind, n.Namespace)
	if err != nil {
		n.t.Fatal(err)
	}
	var found []unstructured.Unstructured
	err = harness.Until(ctx, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
		if err == nil {
			found = list.Items
		}
		return len(found) > 0, err
	})
	if err != nil {
		n.t.Fatalf("wait for a pod of %s: %v", app, err)
	}
	now := time.Now().UTC().Format(time.RFC3339)
	status := fmt.Sprintf(`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":%q}]}}`, now)
	for _, pod := range found {
		if _, err := pods.Patch(ctx, pod.GetName(), types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
			n.t.Fatalf("make pod %s ready: %v", pod.GetName(), err)
		}
	}
}
