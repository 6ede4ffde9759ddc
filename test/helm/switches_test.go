package helm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/test/harness"
)

var replicaSetKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "ReplicaSet"}

// actions are those that have hooks before and after them.
var actions = []string{"install", "upgrade", "rollback", "delete"}

// hookedChart leaves a ConfigMap for each hook that ran, and gets ready unless its values say otherwise.
func hookedChart() map[string]string {
	files := map[string]string{
		"hooked/Chart.yaml":              "apiVersion: v2\nname: hooked\nversion: 1.0.0\n",
		"hooked/values.yaml":             "stuck: false\nvalue: a\nextra: false\n",
		"hooked/templates/workload.yaml": moodyChart()["moody/templates/workload.yaml"],
		"hooked/templates/extra.yaml":    "{{ if .Values.extra }}\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-extra}\n{{ end }}\n",
	}
	for _, action := range actions {
		for _, when := range []string{"pre", "post"} {
			files["hooked/templates/"+when+action+".yaml"] = fmt.Sprintf(
				"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-%[1]s-%[2]s', annotations: {helm.sh/hook: %[1]s-%[2]s}}\n", when, action)
		}
	}
	return files
}

// TestDisableHooks takes releases through all actions, one of each with its hooks and one without.
func TestDisableHooks(t *testing.T) {
	n := newTenant(t, "disable-hooks", hookedChart())
	const off = `install: {disableHooks: true}
upgrade: {disableHooks: true, remediation: {remediateLastFailure: true}}
rollback: {disableHooks: true}
uninstall: {disableHooks: true}
`
	n.release("with", "hooked", "timeout: 3s\nupgrade: {remediation: {remediateLastFailure: true}}\n")
	n.release("without", "hooked", "timeout: 3s\n"+off)
	both := []string{"with", "without"}
	for _, name := range both {
		n.ready(name)
		n.patch(releaseKind, name, `{"spec":{"values":{"stuck":true}}}`)
	}
	for _, name := range both {
		n.await(releaseKind, name, all(says("Remediated", "True", "RollbackSucceeded", ""), says("Stalled", "True", "", ""), current))
		if err := n.Delete(within(t), releaseKind, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range both {
		n.await(releaseKind, name, gone)
		var ran []string
		for _, action := range actions {
			for _, when := range []string{"pre", "post"} {
				if hook := when + "-" + action; n.has(harness.ConfigMapKind, name+"-"+hook) {
					ran = append(ran, hook)
				}
			}
		}
		want := map[string][]string{"with": { // the upgrade failed before its end
			"pre-install", "post-install", "pre-upgrade", "pre-rollback", "post-rollback", "pre-delete", "post-delete",
		}}[name]
		if diff := cmp.Diff(want, ran); diff != "" {
			t.Errorf("hooks of release %q (-want +got):\n%s", name, diff)
		}
	}
}

// has says whether an object is there.
func (n tenant) has(kind schema.GroupVersionKind, name string) bool {
	n.t.Helper()
	r, err := n.Cluster.Resource(kind, n.Namespace)
	if err != nil {
		n.t.Fatal(err)
	}
	list, err := r.List(within(n.t), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		n.t.Fatal(err)
	}
	return len(list.Items) == 1
}

// TestCleanupOnFail deletes what an upgrade made that failed, if the spec says so, and not what it found.
func TestCleanupOnFail(t *testing.T) {
	n := newTenant(t, "cleanup", hookedChart())
	n.release("cleaned", "hooked", "timeout: 3s\nupgrade: {cleanupOnFail: true}\n")
	n.release("left", "hooked", "timeout: 3s\n")
	n.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: found-extra}\ndata: {precious: yes-it-is}\n")
	n.release("found", "hooked", "timeout: 3s\nupgrade: {cleanupOnFail: true}\n")
	for name, stays := range map[string]bool{"cleaned": false, "left": true, "found": true} {
		n.ready(name)
		n.patch(releaseKind, name, `{"spec":{"values":{"stuck":true,"extra":true}}}`)
		n.await(harness.ConfigMapKind, name+"-extra", exists)
		n.await(releaseKind, name, all(says("Released", "False", "UpgradeFailed", ""), says("Stalled", "True", "", ""), current))
		if have := n.has(harness.ConfigMapKind, name+"-extra"); have != stays {
			t.Errorf("%s: what the failed upgrade made is there: %t", name, have)
		}
		n.await(harness.DeploymentKind, name, exists)
	}
}

// TestRollbackCleanup deletes what a rollback made that failed, if the spec says so.
func TestRollbackCleanup(t *testing.T) {
	files := hookedChart()
	files["hooked/templates/old.yaml"] = "{{ if not .Values.stuck }}\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-old}\n{{ end }}\n"
	files["hooked/templates/back.yaml"] = hook("{{ .Release.Name }}-back", "post-rollback", "0", "before-hook-creation",
		"activeDeadlineSeconds: 1, template: {spec: {nodeSelector: {kubernetes.io/hostname: nowhere}, restartPolicy: Never, containers: [{name: a, image: example.com/job}]}}")
	n := newTenant(t, "rollback-cleanup", files)
	const remedy = "timeout: 5s\nupgrade: {remediation: {remediateLastFailure: true}}\n"
	n.release("cleaned", "hooked", remedy+"rollback: {cleanupOnFail: true}\n")
	n.release("left", "hooked", remedy)
	for name, stays := range map[string]bool{"cleaned": false, "left": true} {
		n.ready(name)
		n.patch(releaseKind, name, `{"spec":{"values":{"stuck":true}}}`)
		n.await(harness.ConfigMapKind, name+"-old", gone)
		n.await(jobKind, name+"-back", exists)
		n.await(releaseKind, name, says("Remediated", "False", "RollbackFailed", ""))
		if have := n.has(harness.ConfigMapKind, name+"-old"); have != stays {
			t.Errorf("%s: what the failed rollback made is there: %t", name, have)
		}
		n.await(harness.DeploymentKind, name, exists)
	}
}

// TestTakeOwnership adopts objects that are nobody's release's, unless the spec says not to.
func TestTakeOwnership(t *testing.T) {
	n := newTenant(t, "ownership", webChart())
	for _, name := range []string{"taken", "refused", "upgraded-extra"} {
		n.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {message: mine}\n")
	}
	const keep = "{disableTakeOwnership: true}\n"
	n.release("taken", "web", "")
	n.release("refused", "web", "install: "+keep)
	n.release("upgraded", "web", "upgrade: "+keep)
	n.ready("taken")
	n.await(harness.ConfigMapKind, "taken", holds("message", "default"))
	n.await(releaseKind, "refused", says("Released", "False", "InstallFailed", "exists and cannot be imported into the current release"))
	n.await(harness.ConfigMapKind, "refused", holds("message", "mine"))
	n.ready("upgraded")
	n.patch(releaseKind, "upgraded", `{"spec":{"values":{"extra":true}}}`)
	n.await(releaseKind, "upgraded", says("Released", "False", "UpgradeFailed", "exists and cannot be imported into the current release"))
	n.await(harness.ConfigMapKind, "upgraded-extra", holds("message", "mine"))
}

// TestMaxHistory keeps as many revisions as the spec says, and all when it says zero.
func TestMaxHistory(t *testing.T) {
	n := newTenant(t, "max-history", webChart())
	const superseded = "superseded: Upgrade complete"
	for name, tt := range map[string]struct {
		spec string
		want []string
	}{
		"two":     {"maxHistory: 2\n", []string{superseded, "deployed: Upgrade complete"}},
		"default": {"", []string{superseded, superseded, superseded, superseded, "deployed: Upgrade complete"}},
		"all":     {"maxHistory: 0\n", []string{"superseded: Install complete", superseded, superseded, superseded, superseded, "deployed: Upgrade complete"}},
	} {
		n.release(name, "web", tt.spec)
		n.ready(name)
		for i := range 5 {
			n.patch(releaseKind, name, fmt.Sprintf(`{"spec":{"values":{"message":"%d"}}}`, i))
			n.await(releaseKind, name, all(says("Ready", "True", "", fmt.Sprintf("%s.v%d ", name, i+2)), current))
		}
		if diff := cmp.Diff(tt.want, history(t, n.Namespace, name)); diff != "" {
			t.Errorf("%s: helm history (-want +got):\n%s", name, diff)
		}
	}
}

// TestDeletionPropagation deletes the objects of a release before what they own, after it, or without it.
func TestDeletionPropagation(t *testing.T) {
	n := newTenant(t, "propagation", webChart())
	for name, tt := range map[string]struct {
		spec string
		// first is whether the Deployment is gone while its ReplicaSet is held, owned whether that is to go at all.
		first, owned bool
	}{
		"usual":      {"", true, true},
		"background": {"uninstall: {deletionPropagation: background}\n", true, true},
		"foreground": {"uninstall: {deletionPropagation: foreground, timeout: 1h}\n", false, true},
		"orphan":     {"uninstall: {deletionPropagation: orphan}\n", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := tenant{n.Tenant, t}
			n.release(name, "web", tt.spec)
			n.ready(name)
			set := n.replicaSet(name)
			n.patch(replicaSetKind, set, `{"metadata":{"finalizers":["example.com/hold"]}}`)
			if err := n.Delete(within(t), releaseKind, name); err != nil {
				t.Fatal(err)
			}
			if tt.first {
				n.await(harness.DeploymentKind, name, gone)
			} else {
				n.await(harness.DeploymentKind, name, func(u *unstructured.Unstructured) bool {
					return u != nil && slices.Contains(u.GetFinalizers(), "foregroundDeletion")
				})
				n.await(replicaSetKind, set, func(u *unstructured.Unstructured) bool { return u.GetDeletionTimestamp() != nil })
				n.await(releaseKind, name, exists)
			}
			n.patch(replicaSetKind, set, `{"metadata":{"finalizers":null}}`)
			n.await(releaseKind, name, gone)
			n.await(harness.DeploymentKind, name, gone)
			if tt.owned {
				n.await(replicaSetKind, set, gone)
				return
			}
			n.await(replicaSetKind, set, func(u *unstructured.Unstructured) bool { return u != nil && len(u.GetOwnerReferences()) == 0 })
		})
	}
}

// replicaSet is the name of a Deployment's.
func (n tenant) replicaSet(deployment string) string {
	n.t.Helper()
	r, err := n.Cluster.Resource(replicaSetKind, n.Namespace)
	if err != nil {
		n.t.Fatal(err)
	}
	list, err := r.List(within(n.t), metav1.ListOptions{LabelSelector: "app=" + deployment})
	if err != nil || len(list.Items) != 1 {
		n.t.Fatalf("ReplicaSets of %s: %v, error %v", deployment, list, err)
	}
	return list.Items[0].GetName()
}

// TestReset tries anew when somebody asks to forget the failures, once for each token.
func TestReset(t *testing.T) {
	n := newTenant(t, "reset", moodyChart())
	n.release("app", "moody", "timeout: 2s\nvalues: {stuck: true}\n")
	exhausted := func(u *unstructured.Unstructured) bool {
		return current(u) && says("Stalled", "True", "RetriesExceeded", "Failed to install after 1 attempt(s)")(u)
	}
	n.await(releaseKind, "app", exhausted)
	n.patch(releaseKind, "app", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"one","reconcile.fluxcd.io/resetAt":"other"}}}`)
	n.request("app", "one")
	want := []string{"failed"}
	if diff := cmp.Diff(want, outline(history(t, n.Namespace, "app"), want)); diff != "" {
		t.Errorf("after a token that is not that of the request: helm history (-want +got):\n%s", diff)
	}
	n.await(releaseKind, "app", func(u *unstructured.Unstructured) bool {
		reset, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledResetAt")
		return reset == "other" // it is noted all the same
	})
	n.patch(releaseKind, "app", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"two","reconcile.fluxcd.io/resetAt":"two"}}}`)
	u := n.await(releaseKind, "app", func(u *unstructured.Unstructured) bool {
		reset, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledResetAt")
		handled, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
		return reset == "two" && handled == "two" && current(u) && says("Stalled", "True", "RetriesExceeded", "Failed to upgrade after 1 attempt(s)")(u)
	})
	if failures, _, _ := unstructured.NestedInt64(u.Object, "status", "installFailures"); failures != 0 {
		t.Errorf("status.installFailures is %d after the reset", failures)
	}
	n.request("app", "three")
	want = []string{"failed", "failed"}
	if diff := cmp.Diff(want, outline(history(t, n.Namespace, "app"), want)); diff != "" {
		t.Errorf("helm history (-want +got):\n%s", diff)
	}
}

// TestRetryOnFailure upgrades a release that failed again and again, without undoing anything, until it succeeds.
func TestRetryOnFailure(t *testing.T) {
	n := newTenant(t, "retry", moodyChart())
	const strategy = "strategy: {name: RetryOnFailure, retryInterval: 2s}"
	n.release("app", "moody", "timeout: 2s\nvalues: {stuck: true}\ninstall: {"+strategy+"}\nupgrade: {"+strategy+"}\n")
	n.await(secretKind, "sh.helm.release.v1.app.v3", exists)
	u := n.await(releaseKind, "app", says("Ready", "False", "UpgradeFailed", ""))
	if stalled, _, _ := harness.Condition(u, "Stalled"); stalled != "" {
		t.Errorf("a release that is tried again is stalled: %s", harness.Describe(u))
	}
	for i, line := range outline(history(t, n.Namespace, "app"), nil) {
		if line != "failed" && line != "pending-upgrade" {
			t.Errorf("revision %d is %s", i+1, line)
		}
	}
	n.patch(releaseKind, "app", `{"spec":{"values":{"stuck":false}}}`)
	n.await(releaseKind, "app", all(says("Ready", "True", "UpgradeSucceeded", ""), current, func(u *unstructured.Unstructured) bool {
		stalled, _, _ := harness.Condition(u, "Stalled")
		failures, _, _ := unstructured.NestedInt64(u.Object, "status", "failures")
		return stalled == "" && failures == 0
	}))
}

// TestFilters runs the tests that the spec selects: those it names, or all but those it excludes.
func TestFilters(t *testing.T) {
	files := webChart()
	for _, name := range []string{"one", "two", "three"} {
		files["web/templates/test-"+name+".yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-" + name + "', annotations: {helm.sh/hook: test}}\n"
	}
	n := newTenant(t, "filters", files)
	for name, tt := range map[string]struct {
		filters string
		want    []string
		says    string
	}{
		"whole":    {"", []string{"one", "three", "two"}, "3 test hooks completed successfully"},
		"named":    {"filters: [{name: named-one}, {name: named-two}]", []string{"one", "two"}, "2 test hooks completed successfully"},
		"excluded": {"filters: [{name: excluded-one, exclude: true}]", []string{"three", "two"}, "2 test hooks completed successfully"},
	} {
		n.release(name, "web", "test: {enable: true, "+tt.filters+"}\n")
		u := n.await(releaseKind, name, all(says("TestSuccess", "True", "TestSucceeded", tt.says), says("Ready", "True", "", ""), current))
		list, _, _ := unstructured.NestedSlice(u.Object, "status", "history")
		ran, _, _ := unstructured.NestedMap(list[0].(map[string]any), "testHooks")
		for _, test := range []string{"one", "two", "three"} {
			_, told := ran[name+"-"+test]
			if want := slices.Contains(tt.want, test); n.has(harness.ConfigMapKind, name+"-"+test) != want || told != want {
				t.Errorf("%s: test %s ran: %t, is in the status: %t, want %t", name, test, !want, told, want)
			}
		}
	}
}

// TestHealthCheckExprs waits for an object of a kind that nobody knows until an expression says that it is ready, and
// fails as soon as another says that it failed.
func TestHealthCheckExprs(t *testing.T) {
	const group = "health.helm.example.com"
	files := map[string]string{
		"mill/Chart.yaml":          "apiVersion: v2\nname: mill\nversion: 1.0.0\n",
		"mill/crds/mill.yaml":      definition("mills", group, "Mill"),
		"mill/templates/mill.yaml": "apiVersion: " + group + "/v1\nkind: Mill\nmetadata: {name: {{ .Release.Name }}}\nspec: {a: b}\n",
	}
	n := newTenant(t, "health-exprs", files)
	mill := schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Mill"}
	const spec = `timeout: 1h
healthCheckExprs:
- {apiVersion: ` + group + `/v1, kind: Mill, current: "has(status.grinds) && status.grinds", failed: "has(status.broken) && status.broken"}
`
	for _, c := range []struct {
		name, status string
		ended        func(*unstructured.Unstructured) bool
	}{
		{"good", `{"status":{"grinds":true}}`, all(says("Ready", "True", "InstallSucceeded", ""), current)},
		{"bad", `{"status":{"broken":true}}`, says("Released", "False", "InstallFailed", "Mill/"+n.Namespace+"/bad")},
	} {
		n.release(c.name, "mill", spec)
		n.await(mill, c.name, exists)
		n.await(releaseKind, c.name, says("Reconciling", "True", "Progressing", "Running 'install' action"))
		n.patch(mill, c.name, c.status)
		n.await(releaseKind, c.name, c.ended)
	}
	n.release("invalid", "mill", "healthCheckExprs: [{apiVersion: "+group+"/v1, kind: Mill, current: 'status.'}]\n")
	n.await(releaseKind, "invalid", says("Stalled", "True", "InvalidCELExpression", ""))
}

// TestLookupTooLarge refuses a lookup that finds more than there is room for, and says of which release and what helps.
func TestLookupTooLarge(t *testing.T) {
	n := newTenant(t, "lookup-large", map[string]string{
		"looker/Chart.yaml": "apiVersion: v2\nname: looker\nversion: 1.0.0\n",
		"looker/templates/config.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {count: "{{ (lookup "v1" "Secret" .Release.Namespace "").items | len }}"}
`,
	})
	large := string(slices.Repeat([]byte("x"), 500<<10))
	for i := range 3 {
		if err := n.Secret(within(t), n.Namespace, fmt.Sprintf("large-%d", i), map[string]string{"a": large}); err != nil {
			t.Fatal(err)
		}
	}
	n.release("app", "looker", "")
	n.await(releaseKind, "app", says("Ready", "False", "InstallFailed",
		fmt.Sprintf("the lookup of objects of kind Secret in namespace %q for release %s/app finds more than", n.Namespace, n.Namespace)))
	for i := range 3 {
		if err := n.Delete(within(t), secretKind, fmt.Sprintf("large-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	n.patch(releaseKind, "app", `{"spec":{"values":{"a":"b"}}}`)
	n.ready("app")
}
