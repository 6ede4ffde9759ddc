package helm

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/action"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestRelease takes a release through its life: installed, upgraded by values and by a push
// of its chart, listed by helm, and uninstalled with its HelmChart.
func TestRelease(t *testing.T) {
	n := newTenant(t, "life", webChart())
	n.release("web", "web", "values: {message: one, extra: true}\n")
	u := n.ready("web")
	if !says("Released", "True", "InstallSucceeded", "Helm install succeeded for release "+n.Namespace+"/web.v1 with chart web@0.1.0+")(u) {
		t.Errorf("after the install: %s", harness.Describe(u))
	}
	entries, _, _ := unstructured.NestedSlice(u.Object, "status", "inventory", "entries")
	found := false
	for _, e := range entries {
		found = found || strings.HasSuffix(e.(map[string]any)["id"].(string), "_web_apps_Deployment")
	}
	if !found {
		t.Errorf("the inventory is %v", entries)
	}
	n.await(harness.ConfigMapKind, "web", func(u *unstructured.Unstructured) bool {
		want := map[string]string{"message": "one", "revision": "1", "upgrade": "false", "jobs": "true"}
		have, _, _ := unstructured.NestedStringMap(u.Object, "data")
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("the ConfigMap (-want +got):\n%s", diff)
		}
		labels, annotations := u.GetLabels(), u.GetAnnotations()
		if labels["app.kubernetes.io/managed-by"] != "Helm" || annotations["meta.helm.sh/release-name"] != "web" || labels["helm.toolkit.fluxcd.io/name"] != "web" {
			t.Errorf("its metadata is %v, %v", labels, annotations)
		}
		return true
	})

	began := time.Now()
	n.patch(releaseKind, "web", `{"spec":{"values":{"message":"two","extra":false}}}`)
	n.await(harness.ConfigMapKind, "web", holds("message", "two"))
	t.Logf("new values are live after %s", time.Since(began).Round(time.Millisecond))
	n.await(harness.ConfigMapKind, "web-extra", gone)
	u = n.ready("web")
	if !says("Released", "True", "UpgradeSucceeded", "web.v2")(u) {
		t.Errorf("after the upgrade: %s", harness.Describe(u))
	}

	chart := webChart()
	chart["web/Chart.yaml"] = strings.Replace(chart["web/Chart.yaml"], "0.1.0", "0.2.0", 1)
	if err := n.Push(within(t), chart); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "web", all(says("Ready", "True", "UpgradeSucceeded", "web.v3 with chart web@0.2.0")))
	want := []string{"superseded: Install complete", "superseded: Upgrade complete", "deployed: Upgrade complete"}
	if diff := cmp.Diff(want, history(t, n.Namespace, "web")); diff != "" {
		t.Errorf("helm history (-want +got):\n%s", diff)
	}
	got, err := action.NewGet(sdk(t, n.Namespace)).Run("web")
	if err != nil {
		t.Fatal(err)
	}
	if got.Info.Notes != "web says two\n" || got.Config["message"] != "two" {
		t.Errorf("helm get says notes %q and values %v", got.Info.Notes, got.Config)
	}

	if err := n.Delete(within(t), releaseKind, "web"); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "web", gone)
	for kind, name := range map[string]string{"ConfigMap": "web", "HelmChart": n.Namespace + "-web"} {
		gvk := harness.ConfigMapKind
		if kind == "HelmChart" {
			gvk = chartKind
		}
		n.await(gvk, name, gone)
	}
	if _, err := action.NewHistory(sdk(t, n.Namespace)).Run("web"); err == nil {
		t.Error("helm still has a history of the release")
	}
}
