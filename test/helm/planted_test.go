package helm

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/sluice-gitops/sluice/test/harness"
)

// awaitStored waits until Helm's storage says something of a revision of the release app.
func (n tenant) awaitStored(version int, status string) {
	n.t.Helper()
	secrets, labels := kubernetes.NewForConfigOrDie(world.REST).CoreV1().Secrets(n.Namespace), map[string]string(nil)
	err := harness.Until(within(n.t), 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		s, err := secrets.Get(ctx, fmt.Sprintf("sh.helm.release.v1.app.v%d", version), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil // it may come
		}
		if err != nil {
			return false, err
		}
		labels = s.Labels
		return labels["status"] == status, nil
	})
	if err != nil {
		n.t.Fatalf("revision %d is not %s: %v, labels %v", version, status, err, labels)
	}
}

// TestPlantedWhileRemedying plants a revision that says it is uninstalled while an uninstall remedies a failure. The
// uninstall goes on, and what was planted does not become the object's: a rollback would apply it.
func TestPlantedWhileRemedying(t *testing.T) {
	files := moodyChart()
	files["moody/templates/sticky.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-sticky, finalizers: [example.com/stay]}\n"
	n := newTenant(t, "planted", files)
	elsewhere := n.Namespace + "-elsewhere"
	if err := world.Namespace(within(t), elsewhere); err != nil {
		t.Fatal(err)
	}
	n.release("app", "moody", "timeout: 3s\nuninstall: {timeout: 60s}\ninstall: {remediation: {retries: 1}}\nvalues: {stuck: true}\n")
	n.awaitStored(1, "uninstalling")
	n.plant(2, "uninstalled", elsewhere)
	n.patch(releaseKind, "app", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`)
	n.patch(harness.ConfigMapKind, "app-sticky", `{"metadata":{"finalizers":null}}`)
	u := n.await(releaseKind, "app", says("Stalled", "True", "RetriesExceeded", ""))
	known, _, _ := unstructured.NestedSlice(u.Object, "status", "history")
	for _, s := range known {
		if version := s.(map[string]any)["version"]; version != int64(1) {
			t.Errorf("the status knows revision %v, which somebody planted or which follows it", version)
		}
	}
	want := []string{"failed"}
	if diff := cmp.Diff(want, outline(history(t, n.Namespace, "app"), want)); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	n.nothingPlanted(elsewhere)
}
