package helm

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/sluice-gitops/sluice/test/harness"
)

// plant stores a revision of the release app as whoever may write Secrets can, with what the one before says of its
// action and its seal. Its manifest and its pre-delete hook are a ConfigMap, each in a namespace which that person has no rights in.
func (n tenant) plant(version int, status, elsewhere string) {
	n.t.Helper()
	secrets := kubernetes.NewForConfigOrDie(world.REST).CoreV1().Secrets(n.Namespace)
	newest, err := secrets.Get(within(n.t), fmt.Sprintf("sh.helm.release.v1.app.v%d", version-1), metav1.GetOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	run := map[string]any{}
	if err := json.Unmarshal([]byte(newest.Annotations["sluice.dev/run"]), &run); err != nil {
		n.t.Fatal(err)
	}
	run["action"], run["phase"], run["over"], run["since"] = "upgrade", "resources", false, time.Now()
	planted := func(name string) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\n", name, elsewhere)
	}
	forged, err := json.Marshal(run)
	if err != nil {
		n.t.Fatal(err)
	}
	body := encoded(n.t, map[string]any{
		"name": "app", "namespace": n.Namespace, "version": version, "manifest": planted("manifest"),
		"info": map[string]any{"status": status}, "chart": map[string]any{"metadata": map[string]any{"name": "web", "version": "0.1.0"}},
		"hooks": []any{map[string]any{"name": "hook", "kind": "ConfigMap", "path": "hook", "events": []string{"pre-delete"}, "manifest": planted("hook")}},
	})
	_, err = secrets.Create(within(n.t), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:        fmt.Sprintf("sh.helm.release.v1.app.v%d", version),
			Annotations: map[string]string{"sluice.dev/run": string(forged), "sluice.dev/run-seal": newest.Annotations["sluice.dev/run-seal"]},
			Labels:      map[string]string{"owner": "helm", "name": "app", "status": status, "version": fmt.Sprint(version)},
		},
		Type: "helm.sh/release.v1", Data: map[string][]byte{"release": body},
	}, metav1.CreateOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
}

// encoded is a release as Helm stores it.
func encoded(t *testing.T, release map[string]any) []byte {
	t.Helper()
	var body bytes.Buffer
	w := gzip.NewWriter(&body)
	if err := json.NewEncoder(w).Encode(release); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return []byte(base64.StdEncoding.EncodeToString(body.Bytes()))
}

func (n tenant) nothingPlanted(elsewhere string) {
	n.t.Helper()
	for _, name := range []string{"manifest", "hook"} {
		if _, err := n.Cluster.Get(within(n.t), harness.ConfigMapKind, elsewhere, name); !apierrors.IsNotFound(err) {
			n.t.Errorf("the %s that somebody planted was applied (error %v)", name, err)
		}
	}
}

// TestForged plants a revision as if an upgrade were at it, and one as if it were deployed. Nothing of them is applied with
// the rights of the HelmRelease, neither by going on with it nor by an uninstall.
func TestForged(t *testing.T) {
	n := newTenant(t, "forged", webChart())
	elsewhere := n.Namespace + "-elsewhere"
	if err := world.Namespace(within(t), elsewhere); err != nil {
		t.Fatal(err)
	}
	n.release("app", "web", "")
	n.ready("app")
	n.plant(2, "pending-upgrade", elsewhere)
	n.patch(releaseKind, "app", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`)
	n.await(releaseKind, "app", says("Released", "True", "UpgradeSucceeded", "app.v3"))
	n.nothingPlanted(elsewhere)
	want := []string{"superseded: Install complete", "failed: Release unlocked from stale 'pending-upgrade' state", "deployed: Upgrade complete"}
	if diff := cmp.Diff(want, history(t, n.Namespace, "app")); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	n.plant(4, "deployed", elsewhere)
	if err := n.Delete(within(t), releaseKind, "app"); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "app", gone)
	n.nothingPlanted(elsewhere)
	n.unreleased("app")
}

// TestUnsealed takes a release that was stored without a seal for what the status knows it to be: it stays as it is.
func TestUnsealed(t *testing.T) {
	n := newTenant(t, "unsealed", webChart())
	n.release("app", "web", "")
	n.ready("app")
	n.patch(secretKind, "sh.helm.release.v1.app.v1", `{"metadata":{"annotations":{"sluice.dev/run-seal":null}}}`)
	before := history(t, n.Namespace, "app")
	n.patch(releaseKind, "app", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`)
	n.await(releaseKind, "app", all(says("Ready", "True", "", ""), func(u *unstructured.Unstructured) bool {
		at, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
		return at == "now"
	}))
	if diff := cmp.Diff(before, history(t, n.Namespace, "app")); diff != "" {
		t.Errorf("history (-before +after):\n%s", diff)
	}
	if err := n.Delete(within(t), releaseKind, "app"); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "app", gone)
	n.unreleased("app")
	n.await(harness.DeploymentKind, "app", gone)
}

// TestUntouched deletes a HelmRelease that could not take over what helm made: that stays.
func TestUntouched(t *testing.T) {
	files := webChart()
	noise := make([]byte, 1_500_000) // more than a Secret holds
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	files["web/files/big.txt"] = base64.StdEncoding.EncodeToString(noise)
	n := newTenant(t, "untouched", files)
	install := action.NewInstall(sdk(t, n.Namespace))
	install.ReleaseName, install.Namespace = "app", n.Namespace
	_, err := install.Run(&chart.Chart{
		Metadata:  &chart.Metadata{APIVersion: "v2", Name: "web", Version: "0.0.1"},
		Templates: []*chart.File{{Name: "templates/a.yaml", Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: precious}\ndata: {a: b}\n")}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	n.release("app", "web", "")
	n.await(releaseKind, "app", says("Released", "False", "", ""))
	if err := n.Delete(within(t), releaseKind, "app"); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "app", gone)
	if diff := cmp.Diff([]string{"deployed: Install complete"}, history(t, n.Namespace, "app")); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	n.await(harness.ConfigMapKind, "precious", holds("a", "b"))
}
