package helm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/test/harness"
)

var (
	namespaceKind = schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
	eventKind     = schema.GroupVersionKind{Version: "v1", Kind: "Event"}
)

// account makes a service account, which may do everything in the namespace or nothing.
func (n tenant) account(name string, mighty bool) {
	n.t.Helper()
	manifest := "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: " + name + "}\n"
	if mighty {
		manifest += fmt.Sprintf(`---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: %s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: %s}]
`, name, name)
	}
	n.apply(manifest)
}

// TestImpersonation makes releases with the rights of a service account, in its namespace and no other.
func TestImpersonation(t *testing.T) {
	n := newTenant(t, "impersonation", webChart())
	n.account("strong", true)
	n.account("weak", false)
	n.release("good", "web", "serviceAccountName: strong\n")
	n.release("bad", "web", "serviceAccountName: weak\n")
	n.release("elsewhere", "web", "serviceAccountName: strong\ntargetNamespace: default\n")
	n.ready("good")
	n.await(releaseKind, "bad", all(says("Released", "False", "", "system:serviceaccount:"+n.Namespace+":weak"),
		says("Ready", "False", "FactoryError", "cannot list resource")))
	n.await(releaseKind, "elsewhere", all(says("Released", "False", "InstallFailed", "forbidden"), says("Ready", "False", "InstallFailed", "")))
}

// TestDefaultAccount has a release that names no service account act as the default one.
func TestDefaultAccount(t *testing.T) {
	shared := world
	own, err := harness.NewWorld(t.Context(), harness.WorldOptions{Token: "helm-only-token", SluiceArgs: []string{"--default-service-account=usual"}})
	if err != nil {
		t.Fatal(err)
	}
	world = own
	t.Cleanup(func() {
		world = shared
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	n := newTenant(t, "default-account", webChart())
	n.account("usual", false)
	n.account("strong", true)
	n.release("named", "web", "serviceAccountName: strong\n")
	n.release("unnamed", "web", "")
	n.ready("named")
	n.await(releaseKind, "unnamed", says("Ready", "False", "", "system:serviceaccount:"+n.Namespace+":usual"))
}

// TestDeleteNamespace deletes namespaces with a release, of one whose account goes with it and of one without, which
// must not hold them up.
func TestDeleteNamespace(t *testing.T) {
	var deleted []tenant
	for name, account := range map[string]string{"delete-ns-own": "", "delete-ns-account": "serviceAccountName: strong\n"} {
		n := newTenant(t, name, webChart())
		n.account("strong", true)
		n.release("web", "web", account)
		n.ready("web")
		deleted = append(deleted, n)
	}
	began := time.Now()
	for _, n := range deleted {
		r, err := n.Cluster.Resource(namespaceKind, "")
		if err == nil {
			err = r.Delete(within(t), n.Namespace, metav1.DeleteOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range deleted {
		if _, err := n.Cluster.WaitFor(within(t), namespaceKind, "", n.Namespace, gone); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s is gone after %s", n.Namespace, time.Since(began).Round(time.Millisecond))
	}
}

// TestJobTTL takes a hook that its time to live took away for one that is done.
func TestJobTTL(t *testing.T) {
	files := webChart()
	files["web/templates/job.yaml"] = hook("{{ .Release.Name }}-once", "post-install", "0", "before-hook-creation", "ttlSecondsAfterFinished: 0, "+completing)
	n := newTenant(t, "job-ttl", files)
	n.release("web", "web", "")
	n.ready("web")
	n.await(jobKind, "web-once", gone)
}

// TestChartName has another chart take the place of a release's: a new release, or the next revision of it.
func TestChartName(t *testing.T) {
	files := webChart()
	for name, body := range webChart() {
		files["other"+strings.TrimPrefix(name, "web")] = strings.Replace(body, "name: web\nversion", "name: other\nversion", 1)
	}
	n := newTenant(t, "chart-name", files)
	for name, tt := range map[string]struct {
		spec string
		want []string
	}{
		"default":   {"", []string{"deployed: Install complete"}},
		"reinstall": {"upgrade: {chartNameChangeStrategy: Reinstall}\n", []string{"deployed: Install complete"}},
		"in-place":  {"upgrade: {chartNameChangeStrategy: InPlaceUpdate}\n", []string{"superseded: Install complete", "deployed: Upgrade complete"}},
	} {
		n.release(name, "web", tt.spec)
		n.ready(name)
		n.patch(releaseKind, name, `{"spec":{"chart":{"spec":{"chart":"./other"}}}}`)
		n.await(releaseKind, name, all(says("Ready", "True", "", "with chart other@0.1.0"), current))
		if diff := cmp.Diff(tt.want, history(t, n.Namespace, name)); diff != "" {
			t.Errorf("%s: helm history (-want +got):\n%s", name, diff)
		}
	}
}

// TestReadyExpr holds a release back until an expression about what it depends on holds, and lets a push
// of its chart through from then on.
func TestReadyExpr(t *testing.T) {
	files := webChart()
	for name, body := range webChart() {
		files["front"+strings.TrimPrefix(name, "web")] = body
	}
	n := newTenant(t, "ready-expr", files)
	n.release("backend", "web", "")
	n.ready("backend")
	n.release("frontend", "front", `dependsOn:
- {name: backend, readyExpr: "dep.metadata.?labels.go.orValue('') == self.metadata.name"}
`)
	n.await(releaseKind, "frontend", says("Ready", "False", "DependencyNotReady", "not ready according to readyExpr"))
	n.patch(releaseKind, "backend", `{"metadata":{"labels":{"go":"frontend"}}}`)
	n.ready("frontend")
	n.release("broken", "web", "dependsOn: [{name: backend, readyExpr: 'dep.'}]\n")
	n.await(releaseKind, "broken", says("Stalled", "True", "InvalidCELExpression", "readyExpr of dependency"))

	change := map[string]string{"front/Chart.yaml": strings.Replace(files["front/Chart.yaml"], "0.1.0", "0.2.0", 1)}
	if err := n.Push(within(t), change); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "frontend", says("Ready", "True", "UpgradeSucceeded", "frontend.v2 with chart web@0.2.0"))
}

// chartOfFiles loads a chart from files below its folder.
func chartOfFiles(t *testing.T, files map[string]string) *chart.Chart {
	t.Helper()
	var buffered []*loader.BufferedFile
	for name, body := range files {
		_, inside, _ := strings.Cut(name, "/")
		buffered = append(buffered, &loader.BufferedFile{Name: inside, Data: []byte(body)})
	}
	loaded, err := loader.LoadFiles(buffered)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// TestTakeOverFields upgrades a release that the helm command made: what the chart has no more goes, although the
// command applied it in its own name, and nothing is the command's afterwards.
func TestTakeOverFields(t *testing.T) {
	was := kube.ManagedFieldsManager
	kube.ManagedFieldsManager = "helm"
	t.Cleanup(func() { kube.ManagedFieldsManager = was })
	n := newTenant(t, "fields", webChart())
	older := webChart()
	older["web/templates/config.yaml"] += "  obsolete: \"yes\"\n"
	install := action.NewInstall(sdk(t, n.Namespace))
	install.ReleaseName, install.Namespace = "web", n.Namespace
	if _, err := install.Run(chartOfFiles(t, older), nil); err != nil {
		t.Fatal(err)
	}
	before := n.await(harness.ConfigMapKind, "web", holds("obsolete", "yes"))
	if who := managers(before); !strings.Contains(who, "helm Update") {
		t.Fatalf("the ConfigMap is managed by %s", who)
	}
	n.release("web", "web", "values: {message: sluice}\n")
	n.ready("web")
	n.await(harness.ConfigMapKind, "web", all(holds("message", "sluice"), holds("obsolete", "")))
	for _, kind := range []schema.GroupVersionKind{harness.ConfigMapKind, harness.DeploymentKind} {
		if who := managers(n.await(kind, "web", exists)); strings.Contains(who, "helm Update") || !strings.Contains(who, "helm-controller Apply") {
			t.Errorf("the %s is managed by %s", kind.Kind, who)
		}
	}
}

func managers(u *unstructured.Unstructured) string {
	var out []string
	for _, e := range u.GetManagedFields() {
		out = append(out, e.Manager+" "+string(e.Operation))
	}
	return strings.Join(out, ", ")
}

// TestFailureLog says in the event of a failure what the action did last.
func TestFailureLog(t *testing.T) {
	n := newTenant(t, "failure-log", moodyChart())
	n.release("app", "moody", "timeout: 3s\nvalues: {stuck: true}\n")
	n.await(releaseKind, "app", says("Released", "False", "InstallFailed", ""))
	r, err := n.Cluster.Resource(eventKind, n.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	var message string
	for ctx := within(t); message == ""; {
		list, err := r.List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=app,reason=InstallFailed"})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list.Items {
			message, _, _ = unstructured.NestedString(e.Object, "message")
		}
	}
	head, lines, found := strings.Cut(message, "\n\nLast Helm logs:\n\n")
	if !found || !strings.HasPrefix(head, "Helm install failed for release "+n.Namespace+"/app with chart moody@1.0.0") {
		t.Fatalf("the event says %q", message)
	}
	for _, want := range []string{"running 1 hooks of pre-install", "applying the resources of revision 1", "beginning wait for resources with timeout of 3s", "waiting for [Deployment/" + n.Namespace + "/app"} {
		if !strings.Contains(lines, want) {
			t.Errorf("the log lacks %q:\n%s", want, lines)
		}
	}
	if u := n.await(releaseKind, "app", exists); strings.Contains(harness.Describe(u), "Last Helm logs") {
		t.Errorf("the log is in the status: %s", harness.Describe(u))
	}
}
