package helm

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestSourceReadiness says why the source of a chart cannot be used, one that is made for the release or one that it names.
func TestSourceReadiness(t *testing.T) {
	n := newTenant(t, "source-readiness", webChart())
	const artifact = `{"path":"a","url":"http://a","revision":"0.1.0@sha256:0","digest":"sha256:0","lastUpdateTime":"2026-01-01T00:00:00Z"}`
	condition := func(kind, status string, generation int) string {
		return fmt.Sprintf(`{"type":%q,"status":%q,"reason":"Test","message":"by the test","observedGeneration":%d,"lastTransitionTime":"2026-01-01T00:00:00Z"}`, kind, status, generation)
	}
	for _, tt := range []struct{ name, status, reason, message string }{
		{"missing", "", "ArtifactFailed", "could not get Source object: "},
		{"new", `{}`, "SourceNotReady", "does not have an artifact"},
		{"failed-without-artifact", `{"conditions":[` + condition("Ready", "False", 1) + `]}`, "SourceNotReady", "does not have an artifact"},
		{
			"stale", `{"artifact":` + artifact + `,"conditions":[` + condition("Ready", "True", 0) + `]}`,
			"SourceNotReady", "latest generation of object has not been reconciled",
		},
		{
			"stalled", `{"artifact":` + artifact + `,"conditions":[` + condition("Ready", "False", 1) + `,` + condition("Stalled", "True", 1) + `]}`,
			"SourceNotReady", "by the test",
		},
	} {
		if tt.status != "" { // suspended: nobody but the test writes its status
			n.apply("apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {name: " + tt.name + "}\nspec: {suspend: true, interval: 1h, url: oci://example.com/charts/web}\n")
			n.status(tt.name, tt.status)
		}
		n.apply("apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: " + tt.name + "}\nspec:\n  interval: 1h\n  chartRef: {kind: OCIRepository, name: " + tt.name + "}\n")
		part := tt.message
		if tt.reason == "SourceNotReady" {
			part = fmt.Sprintf("OCIRepository '%s/%s' is not ready: %s", n.Namespace, tt.name, tt.message)
		}
		n.await(releaseKind, tt.name, all(says("Ready", "False", tt.reason, part), says("Reconciling", "True", "Progressing", "")))
	}
}

// status writes the status of an OCIRepository.
func (n tenant) status(name, status string) {
	n.t.Helper()
	body, err := json.Marshal(map[string]json.RawMessage{"status": json.RawMessage(status)})
	if err != nil {
		n.t.Fatal(err)
	}
	r, err := n.Cluster.Resource(sourceKind, n.Namespace)
	if err == nil {
		_, err = r.Patch(within(n.t), name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "source-controller"}, "status")
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// TestValuesReferences has the API server refuse references whose key or path is too long or no key or path, and says of
// others what is missing.
func TestValuesReferences(t *testing.T) {
	n := newTenant(t, "values-references", webChart())
	n.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: there}\ndata: {list: \"[a]\", text: a, \"" + strings.Repeat("k", 253) + "\": \"message: long\"}\n")
	named := func(more string) string { return "{kind: ConfigMap, name: there, " + more + "}" }
	for i, tt := range []struct{ why, reference, reason, says string }{
		{"a key of 253 characters", named("valuesKey: " + strings.Repeat("k", 253)), "", ""},
		{"a path of 250 characters", named(`valuesKey: text, targetPath: '` + strings.Repeat("p", 250) + `'`), "", ""},
		{"a path with an index and escaped signs", named(`valuesKey: text, targetPath: 'a\.b/c[12].d_e-f'`), "", ""},
		{"optional, not there", "{kind: Secret, name: away, optional: true}", "", ""},
		{"optional, without the key", named("valuesKey: away, optional: true"), "", ""},
		{"a longer key", named("valuesKey: " + strings.Repeat("k", 254)), "Invalid", "valuesKey"},
		{"a longer path", named("targetPath: " + strings.Repeat("p", 251)), "Invalid", "targetPath"},
		{"a key with a slash", named("valuesKey: a/b"), "Invalid", "valuesKey"},
		{"a path with a space", named("targetPath: a b"), "Invalid", "targetPath"},
		{"an index of six digits", named("targetPath: 'a[123456]'"), "Invalid", "targetPath"},
		{"no name", "{kind: ConfigMap, name: ''}", "Invalid", "name"},
		{"another kind", "{kind: Service, name: there}", "Invalid", "kind"},
		{"not there", "{kind: Secret, name: away}", "ValuesError", fmt.Sprintf("could not resolve Secret chart values reference '%s/away' with key 'values.yaml'", n.Namespace)},
		{"without the key", named("valuesKey: away"), "ValuesError", "missing key 'away'"},
		{"no map", named("valuesKey: list"), "ValuesError", "it is no YAML map"},
		{"a path that cannot be set", named("valuesKey: text, targetPath: 'a[0'"), "Invalid", "targetPath"},
	} {
		name := fmt.Sprintf("r%d", i)
		manifest := fmt.Sprintf("apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: %s}\nspec:\n  interval: 1h\n"+
			"  chart: {spec: {chart: ./web, sourceRef: {kind: GitRepository, name: apps}}}\n  valuesFrom: [%s]\n", name, tt.reference)
		err := n.Cluster.Apply(within(t), n.Namespace, []byte(manifest))
		switch {
		case tt.reason == "Invalid":
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: the API server says %v", tt.why, err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.why, err)
		case tt.reason == "":
			n.ready(name)
		default:
			n.await(releaseKind, name, says("Ready", "False", tt.reason, tt.says))
		}
	}
}

// TestValuesWatched upgrades a release as soon as values change in a ConfigMap that asks to be watched, and at the next pass
// when they change in a Secret that does not.
func TestValuesWatched(t *testing.T) {
	n := newTenant(t, "values-watched", webChart())
	n.apply(`apiVersion: v1
kind: ConfigMap
metadata: {name: watched, labels: {reconcile.fluxcd.io/watch: Enabled}}
data: {values.yaml: "message: one"}
---
apiVersion: v1
kind: Secret
metadata: {name: unwatched}
stringData: {values.yaml: "extra: false"}
`)
	n.release("web", "web", "valuesFrom: [{kind: ConfigMap, name: watched}, {kind: Secret, name: unwatched}]\n")
	n.ready("web")
	n.await(harness.ConfigMapKind, "web", holds("message", "one"))
	n.patch(harness.ConfigMapKind, "watched", `{"data":{"values.yaml":"message: two"}}`)
	n.await(harness.ConfigMapKind, "web", holds("message", "two"))
	n.ready("web")
	n.patch(secretKind, "unwatched", `{"stringData":{"values.yaml":"extra: true"}}`)
	n.request("web", "one")
	n.await(harness.ConfigMapKind, "web-extra", exists)
}
