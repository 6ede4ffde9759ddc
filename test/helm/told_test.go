package helm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestStatus compares all that the status and the Kubernetes Events say of a release of a registry's chart: installed,
// upgraded and uninstalled.
func TestStatus(t *testing.T) {
	n := newTenant(t, "status", webChart())
	host := registryHost(t)
	digest := pushChart(t, host+"/charts/web:0.1.0", webChart())
	version := "0.1.0+" + digest[:12]
	n.apply(fmt.Sprintf("apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {name: charts}\nspec: {interval: 1h, insecure: true, url: oci://%s/charts/web, ref: {tag: 0.1.0}}\n", host))
	n.apply(`apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: web, annotations: {event.toolkit.fluxcd.io/team: blue}}
spec:
  interval: 1h
  chartRef: {kind: OCIRepository, name: charts}
  test: {enable: true}
  commonMetadata: {labels: {team: blue}}
  postRenderers: [{kustomize: {images: [{name: example.com/web, newTag: other}]}}]
`)
	for i, action := range []string{"install", "upgrade"} {
		if action == "upgrade" {
			n.patch(releaseKind, "web", `{"spec":{"values":{"message":"two"}}}`)
		}
		name := fmt.Sprintf("%s/web.v%d", n.Namespace, i+1)
		tested := fmt.Sprintf("Helm test succeeded for release %s with chart web@%s: no test hooks", name, version)
		u := n.await(releaseKind, "web", all(says("Ready", "True", "TestSucceeded", tested), says("TestSuccess", "True", "TestSucceeded", tested), current))
		reason := strings.ToUpper(action[:1]) + action[1:] + "Succeeded"
		text := fmt.Sprintf("Helm %s succeeded for release %s with chart web@%s", action, name, version)
		if !says("Released", "True", reason, text)(u) {
			t.Errorf("after the %s: %s", action, harness.Describe(u))
		}
		status := u.Object["status"].(map[string]any)
		for _, field := range []string{"lastAttemptedConfigDigest", "observedPostRenderersDigest", "observedCommonMetadataDigest"} {
			if text, _ := status[field].(string); !strings.HasPrefix(text, "sha256:") {
				t.Errorf("status.%s is %q", field, text)
			}
		}
		if text, _ := status["lastAttemptedReleaseActionDuration"].(string); text == "" {
			t.Errorf("status.lastAttemptedReleaseActionDuration is missing")
		}
		n.compare(status, map[string]any{
			"observedGeneration": u.GetGeneration(), "lastAttemptedGeneration": u.GetGeneration(), "lastAttemptedReleaseAction": action,
			"lastAttemptedRevision": version, "lastAttemptedRevisionDigest": "sha256:" + digest, "storageNamespace": n.Namespace,
			"failures": nil, "installFailures": nil, "upgradeFailures": nil, "helmChart": nil,
		})
		past := status["history"].([]any)
		if len(past) != i+1 {
			t.Fatalf("status.history is %v", past)
		}
		snapshot := past[0].(map[string]any)
		n.compare(snapshot, map[string]any{
			"apiVersion": "v2", "name": "web", "namespace": n.Namespace, "version": int64(i + 1), "status": "deployed", "action": action,
			"chartName": "web", "chartVersion": version, "appVersion": "1.2.3", "configDigest": status["lastAttemptedConfigDigest"],
			"ociDigest": "sha256:" + digest, "deleted": nil, "testHooks": map[string]any{},
		})
		for _, field := range []string{"digest", "firstDeployed", "lastDeployed"} {
			if text, _ := snapshot[field].(string); text == "" {
				t.Errorf("status.history[0] has no %s: %v", field, snapshot)
			}
		}
		e := n.told("web", "Normal", reason, text)
		n.told("web", "Normal", "TestSucceeded", tested)
		want := map[string]string{
			"helm.toolkit.fluxcd.io/revision": version, "helm.toolkit.fluxcd.io/app-version": "1.2.3", "helm.toolkit.fluxcd.io/oci-digest": "sha256:" + digest,
			"helm.toolkit.fluxcd.io/token": status["lastAttemptedConfigDigest"].(string), "event.toolkit.fluxcd.io/team": "blue",
		}
		if diff := cmp.Diff(want, e.GetAnnotations()); diff != "" {
			t.Errorf("the Event's metadata (-want +got):\n%s", diff)
		}
		if component, _, _ := unstructured.NestedString(e.Object, "source", "component"); component != "helm-controller" {
			t.Errorf("the Event is from %q", component)
		}
	}
	if err := n.Delete(within(t), releaseKind, "web"); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "web", gone)
	n.told("web", "Normal", "UninstallSucceeded", "Helm uninstall succeeded for release "+n.Namespace+"/web.v2 with chart web@"+version)
}

// compare compares fields; one that is wanted as nil must be missing or null.
func (n tenant) compare(have, want map[string]any) {
	n.t.Helper()
	some := map[string]any{}
	for field := range want {
		some[field] = have[field]
	}
	if diff := cmp.Diff(want, some); diff != "" {
		n.t.Errorf("status (-want +got):\n%s", diff)
	}
}

// TestAwaitingTests says, while tests run, that the release waits for them.
func TestAwaitingTests(t *testing.T) {
	n := newTenant(t, "awaiting-tests", moodyChart())
	n.release("app", "moody", "test: {enable: true}\nvalues: {failTest: true}\n")
	waits := "Helm release " + n.Namespace + "/app.v1 with chart moody@1.0.0+"
	n.await(releaseKind, "app", all(says("TestSuccess", "Unknown", "AwaitingTests", waits), says("TestSuccess", "Unknown", "AwaitingTests", " is awaiting tests"),
		says("Released", "True", "InstallSucceeded", "")))
	n.await(releaseKind, "app", says("TestSuccess", "False", "TestFailed", ""))
	n.told("app", "Warning", "TestFailed", "Helm test failed for release "+n.Namespace+"/app.v1 with chart moody@1.0.0+")
}

// TestChartTemplate makes the HelmChart of a release as its template says, and tells of it.
func TestChartTemplate(t *testing.T) {
	files := webChart()
	files["web/values-prod.yaml"] = "message: prod\n"
	n := newTenant(t, "chart-template", files)
	n.apply(`apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: web}
spec:
  interval: 1h
  chart:
    metadata: {labels: {team: blue}, annotations: {note: text}}
    spec:
      chart: ./web
      interval: 30m
      valuesFiles: [web/values.yaml, web/values-prod.yaml, web/absent.yaml]
      ignoreMissingValuesFiles: true
      sourceRef: {kind: GitRepository, name: ` + harness.SourceName + `}
`)
	u := n.ready("web")
	made := n.Namespace + "-web"
	if of, _, _ := unstructured.NestedString(u.Object, "status", "helmChart"); of != n.Namespace+"/"+made {
		t.Errorf("status.helmChart is %q", of)
	}
	n.await(harness.ConfigMapKind, "web", holds("message", "prod"))
	chart := n.await(chartKind, made, exists)
	labels := map[string]string{"team": "blue", "helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": n.Namespace}
	if diff := cmp.Diff(labels, chart.GetLabels()) + cmp.Diff(map[string]string{"note": "text"}, chart.GetAnnotations()); diff != "" {
		t.Errorf("labels and annotations (-want +got):\n%s", diff)
	}
	n.compare(chart.Object["spec"].(map[string]any), map[string]any{
		"chart": "./web", "interval": "30m0s", "version": "*", "reconcileStrategy": "ChartVersion", "ignoreMissingValuesFiles": true,
		"valuesFiles": []any{"web/values.yaml", "web/values-prod.yaml", "web/absent.yaml"},
		"sourceRef":   map[string]any{"kind": "GitRepository", "name": harness.SourceName},
	})
	n.told("web", "Normal", "HelmChartCreated", "Created HelmChart/"+n.Namespace+"/"+made+" with SourceRef 'GitRepository/"+n.Namespace+"/"+harness.SourceName+"'")
	n.patch(releaseKind, "web", `{"spec":{"chart":{"metadata":{"labels":{"team":"red"}}}}}`)
	n.await(chartKind, made, func(u *unstructured.Unstructured) bool { return u.GetLabels()["team"] == "red" })
	n.told("web", "Normal", "HelmChartConfigured", "Configured HelmChart/"+n.Namespace+"/"+made)
	if err := n.Delete(within(t), releaseKind, "web"); err != nil {
		t.Fatal(err)
	}
	n.await(chartKind, made, gone)
	n.told("web", "Normal", "HelmChartDeleted", "deleted HelmChart '"+n.Namespace+"/"+made+"'")
}
