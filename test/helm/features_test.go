package helm

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/action"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestValues composes values from ConfigMaps, a Secret, paths and the spec, as the reference's
// case "valuesfrom".
func TestValues(t *testing.T) {
	n := newTenant(t, "values", webChart())
	n.apply(`apiVersion: v1
kind: ConfigMap
metadata: {name: first}
data: {values.yaml: "list: {example: [a, b, c]}\nreplicas: 5\nfrom: first\n", item: d, env: demo, number: "5", quoted: '"5"', pair: "{x,y}"}
---
apiVersion: v1
kind: Secret
metadata: {name: second}
stringData: {values.yaml: "from: second\ndeep: {limit: 1}\n"}
`)
	n.release("web", "web", `valuesFrom:
- {kind: ConfigMap, name: first}
- {kind: ConfigMap, name: first, valuesKey: item, targetPath: "list.example[2]"}
- {kind: ConfigMap, name: first, valuesKey: env, targetPath: "podAnnotations.some\\.annotation/env"}
- {kind: Secret, name: second}
- {kind: Secret, name: absent, optional: true}
- {kind: ConfigMap, name: first, valuesKey: number, targetPath: set.number}
- {kind: ConfigMap, name: first, valuesKey: quoted, targetPath: set.text}
- {kind: ConfigMap, name: first, valuesKey: pair, targetPath: set.list}
- {kind: ConfigMap, name: first, valuesKey: pair, targetPath: set.literal, literal: true}
values: {replicas: 2, deep: {request: 2}}
`)
	n.ready("web")
	got, err := action.NewGetValues(sdk(t, n.Namespace)).Run("web")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"list": map[string]any{"example": []any{"a", "b", "d"}}, "podAnnotations": map[string]any{"some.annotation/env": "demo"},
		"replicas": 2.0, "from": "second", "deep": map[string]any{"limit": 1.0, "request": 2.0},
		"set": map[string]any{"number": 5.0, "text": "5", "list": []any{"x", "y"}, "literal": "{x,y}"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("helm get values (-want +got):\n%s", diff)
	}
	n.release("broken", "web", "valuesFrom: [{kind: Secret, name: absent}]\n")
	n.await(releaseKind, "broken", says("Ready", "False", "ValuesError",
		"could not resolve Secret chart values reference '"+n.Namespace+"/absent' with key 'values.yaml'"))
}

// TestPostRender patches what a chart renders, hooks too, and labels it.
func TestPostRender(t *testing.T) {
	n := newTenant(t, "post", moodyChart())
	n.release("app", "moody", `commonMetadata: {labels: {team: blue}}
postRenderers:
- kustomize:
    patches:
    - patch: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app, labels: {xxxx: yyyy}}\n"
    - {target: {kind: Job, name: app-pre}, patch: '[{"op": "add", "path": "/metadata/labels", "value": {"yyyy": "xxxx"}}]'}
    - {target: {kind: Deployment}, patch: '[{"op": "add", "path": "/metadata/labels/yyyy", "value": "xxxx"}]'}
    images: [{name: example.com/web, newTag: other}]
`)
	n.ready("app")
	n.await(harness.DeploymentKind, "app", func(u *unstructured.Unstructured) bool {
		containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
		image := containers[0].(map[string]any)["image"]
		if l := u.GetLabels(); l["xxxx"] != "yyyy" || l["yyyy"] != "xxxx" || l["team"] != "blue" || image != "example.com/web:other" {
			t.Errorf("the Deployment has labels %v and image %v", l, image)
		}
		return true
	})
	n.await(jobKind, "app-pre", func(u *unstructured.Unstructured) bool {
		if l := u.GetLabels(); l["yyyy"] != "xxxx" || l["team"] != "blue" {
			t.Errorf("the hook has labels %v", l)
		}
		return true
	})
	n.await(jobKind, "app-post", gone) // as its delete policy says
	n.patch(releaseKind, "app", `{"spec":{"commonMetadata":{"labels":{"team":"red"}}}}`)
	n.await(harness.DeploymentKind, "app", func(u *unstructured.Unstructured) bool { return u.GetLabels()["team"] == "red" })
	n.ready("app")
	if h := history(t, n.Namespace, "app"); len(h) != 2 {
		t.Errorf("other metadata gave the history %v", h)
	}
	n.patch(releaseKind, "app", `{"spec":{"postRenderers":null}}`)
	n.await(harness.DeploymentKind, "app", func(u *unstructured.Unstructured) bool { return u.GetLabels()["xxxx"] == "" })
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"interval":"2h"}}`)
	n.ready("app")
	if h := history(t, n.Namespace, "app"); len(h) != 3 {
		t.Errorf("no post-renderers, and then the same again, gave the history %v", h)
	}
}

// TestDependencies holds a release back until what it depends on is Ready.
func TestDependencies(t *testing.T) {
	n := newTenant(t, "depends", webChart())
	n.release("orphan", "web", "dependsOn: [{name: nobody}]\n")
	n.await(releaseKind, "orphan", says("Ready", "False", "DependencyNotReady", "dependency '"+n.Namespace+"/nobody' not found"))
	n.release("backend", "web", "suspend: true\n")
	n.release("frontend", "web", "dependsOn: [{name: backend}]\n")
	n.await(releaseKind, "frontend", says("Ready", "False", "DependencyNotReady", "dependency '"+n.Namespace+"/backend' is not ready"))
	n.patch(releaseKind, "backend", `{"spec":{"suspend":false}}`)
	n.ready("backend")
	began := time.Now()
	n.ready("frontend")
	t.Logf("the dependent is Ready after %s", time.Since(began).Round(time.Millisecond))
}

// TestDefinitions makes a chart's CRDs before the rest, and replaces them when that is asked for.
func TestDefinitions(t *testing.T) {
	crd := func(versions string) string {
		return `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: toys.helm.example.com}
spec:
  group: helm.example.com
  scope: Namespaced
  names: {kind: Toy, listKind: ToyList, plural: toys, singular: toy}
  versions:
` + versions
	}
	const v1 = "  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}\n"
	const v2 = "  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}\n"
	chart := map[string]string{
		"toys/Chart.yaml":         "apiVersion: v2\nname: toys\nversion: 1.0.0\n",
		"toys/crds/toy.yaml":      crd(v1),
		"toys/templates/toy.yaml": "apiVersion: helm.example.com/v1\nkind: Toy\nmetadata: {name: ball}\nspec: {served: \"{{ .Capabilities.APIVersions.Has \"helm.example.com/v1/Toy\" }}\"}\n",
	}
	n := newTenant(t, "definitions", chart)
	n.release("toys", "toys", "upgrade: {crds: CreateReplace}\n")
	n.ready("toys")
	toy := schema.GroupVersionKind{Group: "helm.example.com", Version: "v1", Kind: "Toy"}
	n.await(toy, "ball", func(u *unstructured.Unstructured) bool {
		served, _, _ := unstructured.NestedString(u.Object, "spec", "served")
		return served == "true"
	})
	if err := n.Push(within(t), map[string]string{"toys/crds/toy.yaml": crd(v1 + v2), "toys/Chart.yaml": strings.Replace(chart["toys/Chart.yaml"], "1.0.0", "1.1.0", 1)}); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "toys", says("Ready", "True", "UpgradeSucceeded", "toys.v2"))
	toy.Version = "v2"
	n.await(toy, "ball", func(u *unstructured.Unstructured) bool { return u != nil })
	if err := n.Delete(within(t), releaseKind, "toys"); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "toys", gone)
	n.await(toy, "ball", gone)
}

// TestPlaces puts a release elsewhere than its HelmRelease, and moves it when the spec does.
func TestPlaces(t *testing.T) {
	n := newTenant(t, "places", webChart())
	target := n.Namespace + "-target"
	n.release("web", "web", "targetNamespace: "+target+"\nreleaseName: here\ninstall: {createNamespace: true}\n")
	n.ready("web")
	if _, err := n.Cluster.WaitFor(within(t), harness.ConfigMapKind, target, "here", holds("message", "default")); err != nil {
		t.Fatal(err)
	}
	n.release("plain", "web", "targetNamespace: "+target+"\nstorageNamespace: "+target+"\n")
	if storage, _, _ := unstructured.NestedString(n.ready("plain").Object, "status", "storageNamespace"); storage != target {
		t.Errorf("status.storageNamespace is %s", storage)
	}
	for kind, name := range map[schema.GroupVersionKind]string{harness.DeploymentKind: target + "-plain", secretKind: "sh.helm.release.v1." + target + "-plain.v1"} {
		if _, err := n.Cluster.WaitFor(within(t), kind, target, name, exists); err != nil {
			t.Error(err)
		}
	}
	n.patch(releaseKind, "web", `{"spec":{"releaseName":"there"}}`)
	if _, err := n.Cluster.WaitFor(within(t), harness.ConfigMapKind, target, "there", holds("message", "default")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Cluster.WaitFor(within(t), harness.ConfigMapKind, target, "here", gone); err != nil {
		t.Fatal(err)
	}
	n.ready("web")
	n.patch(releaseKind, "web", `{"spec":{"suspend":true}}`)
	if err := n.Delete(within(t), releaseKind, "web"); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "web", gone)
	if _, err := n.Cluster.WaitFor(within(t), harness.ConfigMapKind, target, "there", holds("message", "default")); err != nil {
		t.Errorf("a suspended release was uninstalled: %v", err)
	}
}

// TestSuperseded ends a wait for an upgrade that will not get ready, as soon as another is wanted.
func TestSuperseded(t *testing.T) {
	n := newTenant(t, "superseded", moodyChart())
	n.release("app", "moody", "")
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"values":{"stuck":true}}}`)
	n.await(releaseKind, "app", says("Reconciling", "True", "Progressing", "Running 'upgrade' action"))
	n.await(harness.DeploymentKind, "app", func(u *unstructured.Unstructured) bool {
		_, stuck, _ := unstructured.NestedMap(u.Object, "spec", "template", "spec", "nodeSelector")
		return stuck
	})
	began := time.Now()
	n.patch(releaseKind, "app", `{"spec":{"values":{"stuck":false,"value":"b"}}}`)
	n.ready("app")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the fix took %s, as long as the wait for what it replaces", took)
	}
	n.await(harness.ConfigMapKind, "app", holds("value", "b"))
	n.told("app", "Normal", "HealthCheckCanceled", "Release "+n.Namespace+"/app.v2 superseded before it was ready")
}

// TestBadCharts says what is wrong with a chart that cannot be rendered, and tries again by itself.
func TestBadCharts(t *testing.T) {
	files := webChart()
	files["web/templates/bad.yaml"] = "{{- if .Values.bad }}{{ fail .Values.bad }}{{ end }}"
	files["empty/README.md"] = "no chart"
	n := newTenant(t, "bad", files)
	n.release("fails", "web", "values: {bad: \"this cannot be\"}\n")
	n.await(releaseKind, "fails", all(says("Ready", "False", "InstallFailed", "this cannot be"),
		says("Released", "False", "InstallFailed", "Helm install failed for release "+n.Namespace+"/fails")))
	n.patch(releaseKind, "fails", `{"spec":{"values":{"bad":""}}}`)
	n.ready("fails")
	n.patch(releaseKind, "fails", `{"spec":{"values":{"bad":"nor this"}}}`)
	n.await(releaseKind, "fails", says("Ready", "False", "UpgradeFailed", "nor this"))
	if h := history(t, n.Namespace, "fails"); len(h) != 1 || h[0] != "deployed: Install complete" {
		t.Errorf("a chart that cannot be rendered left the history %v", h)
	}
	n.release("nothing", "empty", "")
	n.await(releaseKind, "nothing", says("Ready", "False", "SourceNotReady", "HelmChart"))
	for name, spec := range map[string]string{
		"install": "install: {serverSideApply: false}\n", "upgrade": "upgrade: {serverSideApply: disabled}\n", "rollback": "rollback: {serverSideApply: disabled}\n",
	} {
		n.release(name, "web", spec)
		n.await(releaseKind, name, says("Stalled", "True", "", "spec."+name+".serverSideApply"))
	}
}

// TestDrift tells and puts back what others change in a release's objects, but for what its
// rules leave to them.
func TestDrift(t *testing.T) {
	n := newTenant(t, "drift", webChart())
	n.release("web", "web", `values: {message: one, extra: true}
driftDetection: {mode: enabled, ignore: [{paths: [/spec/replicas], target: {kind: Deployment}}]}
`)
	n.ready("web")
	n.await(releaseKind, "web", says("Drifted", "False", "NoDriftDetected", "No drift detected"))
	n.patch(harness.ConfigMapKind, "web", `{"data":{"message":"edited","added":"by hand"}}`)
	n.patch(harness.DeploymentKind, "web", `{"spec":{"replicas":3}}`)
	if err := n.Delete(within(t), harness.ConfigMapKind, "web-extra"); err != nil {
		t.Fatal(err)
	}
	ask := func(token string) {
		n.patch(releaseKind, "web", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"`+token+`"}}}`)
		n.await(releaseKind, "web", func(u *unstructured.Unstructured) bool {
			handled, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
			return handled == token
		})
	}
	ask("one")
	n.await(harness.ConfigMapKind, "web", all(holds("message", "one"), holds("added", "by hand")))
	n.await(harness.ConfigMapKind, "web-extra", holds("a", "b"))
	n.told("web", "Normal", "DriftDetected", "Cluster state of release "+n.Namespace+"/web.v1 has drifted from the desired state:\nConfigMap/"+n.Namespace+"/web")
	n.told("web", "Normal", "DriftDetected", "ConfigMap/"+n.Namespace+"/web-extra removed")
	n.told("web", "Normal", "DriftCorrected", "ConfigMap/"+n.Namespace+"/web-extra removed")
	n.await(harness.DeploymentKind, "web", func(u *unstructured.Unstructured) bool {
		replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
		if replicas != 3 {
			t.Errorf("the replicas, which are left to others, are %d", replicas)
		}
		return true
	})
	if h := history(t, n.Namespace, "web"); len(h) != 1 {
		t.Errorf("drift made the history %v", h)
	}
	n.patch(releaseKind, "web", `{"spec":{"driftDetection":{"mode":"warn"}}}`)
	n.ready("web")
	n.patch(harness.ConfigMapKind, "web", `{"data":{"message":"edited"}}`)
	ask("two")
	n.await(releaseKind, "web", says("Drifted", "True", "DriftDetected", "ConfigMap/"+n.Namespace+"/web changed (0 additions, 1 changes, 0 removals)"))
	n.await(harness.ConfigMapKind, "web", holds("message", "edited"))
	n.told("web", "Warning", "DriftDetected", "ConfigMap/"+n.Namespace+"/web changed (0 additions, 1 changes, 0 removals)")
	n.patch(harness.ConfigMapKind, "web", `{"metadata":{"annotations":{"helm.toolkit.fluxcd.io/driftDetection":"disabled"}}}`)
	ask("three")
	n.await(releaseKind, "web", says("Drifted", "False", "NoDriftDetected", ""))
	n.release("bad", "web", "driftDetection: {mode: warn, ignore: [{paths: [replicas]}]}\n")
	n.await(releaseKind, "bad", says("Stalled", "True", "", "spec.driftDetection.ignore[0].paths[0]"))
}

// TestLookup lets templates look up objects and lists, one after another, with the rights of the
// release's service account: the way in which charts keep a password that was drawn once.
func TestLookup(t *testing.T) {
	n := newTenant(t, "lookup", map[string]string{
		"keeper/Chart.yaml": "apiVersion: v2\nname: keeper\nversion: 1.0.0\n",
		"keeper/templates/secret.yaml": `{{- $old := lookup "v1" "Secret" .Release.Namespace .Release.Name }}
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}}
data: {password: {{ if $old }}{{ $old.data.password }}{{ else }}{{ randAlphaNum 16 | b64enc }}{{ end }}}
`,
		"keeper/templates/config.yaml": `{{- $first := lookup "v1" "ConfigMap" .Release.Namespace "pointer" }}
{{- $second := dict }}
{{- if $first }}{{ $second = lookup "v1" "ConfigMap" .Release.Namespace $first.data.to }}{{ end }}
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data:
  followed: {{ dig "data" "value" "nothing" $second | quote }}
  count: {{ (lookup "v1" "ConfigMap" .Release.Namespace "").items | len | quote }}
  again: {{ .Values.again | default "" | quote }}
  {{- if .Values.odd }}
  odd: {{ lookup "example.com/v1" "Odd" "" "a" | toJson }}
  {{- end }}
`,
	})
	n.apply(`apiVersion: v1
kind: ConfigMap
metadata: {name: pointer}
data: {to: target}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: target}
data: {value: found}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: weak}
`)
	n.release("keep", "keeper", "")
	n.ready("keep")
	n.await(harness.ConfigMapKind, "keep", all(holds("followed", "found"), holds("count", "3"))) // with kube-root-ca.crt
	secret := schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	password := n.await(secret, "keep", func(u *unstructured.Unstructured) bool { return u != nil }).Object["data"]
	n.patch(releaseKind, "keep", `{"spec":{"values":{"again":"yes"}}}`)
	n.await(harness.ConfigMapKind, "keep", holds("again", "yes"))
	n.ready("keep")
	if diff := cmp.Diff(password, n.await(secret, "keep", func(u *unstructured.Unstructured) bool { return u != nil }).Object["data"]); diff != "" {
		t.Errorf("the password was drawn again (-before +after):\n%s", diff)
	}
	n.release("odd", "keeper", "values: {odd: true}\n")
	n.await(releaseKind, "odd", says("Ready", "False", "InstallFailed", "unable to get apiresource"))
	n.release("weak", "keeper", "serviceAccountName: weak\n")
	n.await(releaseKind, "weak", says("Ready", "False", "", `cannot list resource "secrets"`))
}

// TestPreserveValues keeps values that were set before and are in the spec no more, those that the helm command
// set included, and does not upgrade for ever because of them.
func TestPreserveValues(t *testing.T) {
	n := newTenant(t, "preserve", webChart())
	n.release("web", "web", "values: {message: one, extra: true}\n")
	n.ready("web")
	n.patch(releaseKind, "web", `{"spec":{"upgrade":{"preserveValues":true},"values":{"message":"two","extra":null}}}`)
	n.await(harness.ConfigMapKind, "web", holds("message", "two"))
	n.ready("web")
	n.await(harness.ConfigMapKind, "web-extra", holds("a", "b"))
	values := func() map[string]any {
		got, err := action.NewGetValues(sdk(t, n.Namespace)).Run("web")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if diff := cmp.Diff(map[string]any{"message": "two", "extra": true}, values()); diff != "" {
		t.Errorf("helm get values (-want +got):\n%s", diff)
	}
	upgrade := action.NewUpgrade(sdk(t, n.Namespace))
	upgrade.Namespace, upgrade.ReuseValues = n.Namespace, true
	released, err := action.NewGet(sdk(t, n.Namespace)).Run("web")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := upgrade.Run("web", released.Chart, map[string]any{"replicas": 2, "message": "helm"}); err != nil {
		t.Fatal(err)
	}
	n.request("web", "one")
	n.ready("web")
	n.await(harness.ConfigMapKind, "web", holds("message", "two"))
	if diff := cmp.Diff(map[string]any{"message": "two", "extra": true, "replicas": 2.0}, values()); diff != "" {
		t.Errorf("helm get values after helm upgrade (-want +got):\n%s", diff)
	}
	n.request("web", "two")
	if h := history(t, n.Namespace, "web"); len(h) != 4 {
		t.Errorf("the history is %v", h)
	}
}
