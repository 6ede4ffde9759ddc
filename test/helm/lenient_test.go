package helm

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestDisableWait has releases be ready whose objects are not: of an install, an upgrade, and of Jobs alone.
func TestDisableWait(t *testing.T) {
	files := moodyChart()
	files["moody/templates/job.yaml"] = `{{ if .Values.stuckJob }}
apiVersion: batch/v1
kind: Job
metadata: {name: {{ .Release.Name }}-job}
spec: {template: {spec: ` + nowhere + `}}
{{ end }}
`
	n := newTenant(t, "disable-wait", files)
	for name, spec := range map[string]string{
		"install": "values: {stuck: true}\ninstall: {disableWait: true}\n",
		"jobs":    "values: {stuckJob: true}\ninstall: {disableWaitForJobs: true}\n",
	} {
		n.release(name, "moody", "timeout: 1h\n"+spec)
		n.ready(name)
	}
	n.release("upgrade", "moody", "timeout: 1h\nupgrade: {disableWait: true}\n")
	n.ready("upgrade")
	n.patch(releaseKind, "upgrade", `{"spec":{"values":{"stuck":true,"stuckJob":true}}}`)
	n.await(releaseKind, "upgrade", all(says("Ready", "True", "UpgradeSucceeded", "upgrade.v2"), current))
	n.release("both", "moody", "timeout: 3s\nvalues: {stuckJob: true}\n")
	n.await(releaseKind, "both", says("Released", "False", "InstallFailed", "Job/"+n.Namespace+"/both-job"))
}

// TestSchemaValidation refuses values that the chart's schema does not allow, unless the action says not to look.
func TestSchemaValidation(t *testing.T) {
	files := webChart()
	files["web/values.schema.json"] = `{"type": "object", "properties": {"message": {"type": "string", "maxLength": 9}}}`
	n := newTenant(t, "schema", files)
	const refused = "values don't meet the specifications of the schema"
	n.release("app", "web", "values: {message: much too long}\n")
	n.await(releaseKind, "app", says("Released", "False", "InstallFailed", refused))
	n.patch(releaseKind, "app", `{"spec":{"install":{"disableSchemaValidation":true}}}`)
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"values":{"message":"too long again"}}}`)
	n.await(releaseKind, "app", says("Released", "False", "UpgradeFailed", refused))
	n.patch(releaseKind, "app", `{"spec":{"upgrade":{"disableSchemaValidation":true}}}`)
	n.await(harness.ConfigMapKind, "app", holds("message", "too long again"))
	n.ready("app")
}

// TestResourcePolicy keeps what asks for it: when an upgrade has it no more, and when the release is uninstalled.
func TestResourcePolicy(t *testing.T) {
	files := webChart()
	for _, name := range []string{"one", "two"} {
		files["web/templates/"+name+".yaml"] = "{{ if .Values." + name + " }}\napiVersion: v1\nkind: ConfigMap\n" +
			"metadata: {name: {{ .Release.Name }}-" + name + ", annotations: {helm.sh/resource-policy: keep}}\n{{ end }}\n"
	}
	n := newTenant(t, "policy-keep", files)
	n.release("app", "web", "values: {one: true, two: true, extra: true}\n")
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"values":{"one":false,"extra":false}}}`)
	n.ready("app")
	n.await(harness.ConfigMapKind, "app-extra", gone)
	if err := n.Delete(within(t), releaseKind, "app"); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "app", gone)
	n.await(harness.ConfigMapKind, "app", gone)
	for _, name := range []string{"app-one", "app-two"} {
		n.await(harness.ConfigMapKind, name, func(u *unstructured.Unstructured) bool {
			if u == nil || u.GetDeletionTimestamp() != nil {
				t.Errorf("%s, which is to be kept, is gone", name)
			}
			return true
		})
	}
}

// TestLongFailure fails a chart with more than a condition holds: that is told, and counted, once.
func TestLongFailure(t *testing.T) {
	files := webChart()
	files["web/templates/long.yaml"] = `{{ fail (printf "begins %s" (repeat 2000000 "x")) }}`
	n := newTenant(t, "long-failure", files)
	n.release("web", "web", "")
	n.await(releaseKind, "web", says("Ready", "False", "InstallFailed", "begins xxx"))
	for _, token := range []string{"one", "two"} {
		n.request("web", token)
	}
	u := n.await(releaseKind, "web", says("Ready", "False", "InstallFailed", "begins xxx"))
	if failures, _, _ := unstructured.NestedInt64(u.Object, "status", "failures"); failures != 1 {
		t.Errorf("the status counts %d failures, want 1", failures)
	}
	told := n.told("web", "Warning", "InstallFailed", "begins xxx")
	if count, _, _ := unstructured.NestedInt64(told.Object, "count"); count != 1 {
		t.Errorf("told %d times, want once", count)
	}
	if err := n.Push(within(t), map[string]string{"web/templates/long.yaml": ""}); err != nil {
		t.Fatal(err)
	}
	n.ready("web")
}
