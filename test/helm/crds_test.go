package helm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/action"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/test/harness"
)

var definitionKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// definition is a CRD of a group with one version more than extra.
func definition(plural, group, kind string, extra ...string) string {
	out := fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %s.%s}
spec:
  group: %s
  scope: Namespaced
  names: {kind: %s, listKind: %sList, plural: %s, singular: %s}
  versions:
`, plural, group, group, kind, kind, plural, strings.ToLower(kind))
	for _, version := range append([]string{"v1"}, extra...) {
		out += fmt.Sprintf("  - {name: %s, served: true, storage: %t, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}\n", version, version == "v1")
	}
	return out
}

// definingChart has a definition, and a hook before its install that says for which revision it ran.
func definingChart(crd string) map[string]string {
	return map[string]string{
		"defining/Chart.yaml":    "apiVersion: v2\nname: defining\nversion: 1.0.0\n",
		"defining/crds/crd.yaml": crd,
		"defining/templates/hook.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-hook, annotations: {helm.sh/hook: pre-install}}
data: {revision: "{{ .Release.Revision }}"}
`,
		"defining/templates/config.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {install: \"{{ .Release.IsInstall }}\"}\n",
	}
}

// unreleased fails when Helm's storage has anything of a release.
func (n tenant) unreleased(name string) {
	n.t.Helper()
	if list, err := action.NewHistory(sdk(n.t, n.Namespace)).Run(name); err == nil {
		n.t.Errorf("the storage has %d revisions of %s", len(list), name)
	}
}

// installed checks that a release was installed, hooks included, and never upgraded.
func (n tenant) installed(name string) {
	n.t.Helper()
	n.ready(name)
	n.await(harness.ConfigMapKind, name+"-hook", holds("revision", "1"))
	n.await(harness.ConfigMapKind, name, holds("install", "true"))
	if diff := cmp.Diff([]string{"deployed: Install complete"}, history(n.t, n.Namespace, name)); diff != "" {
		n.t.Errorf("helm history (-want +got):\n%s", diff)
	}
}

// TestDefinitionsFail has an install fail because of its definitions: nothing is stored of it, it costs no try, and what
// mends it is an install.
func TestDefinitionsFail(t *testing.T) {
	good := definition("marbles", "fail.helm.example.com", "Marble")
	for _, c := range []struct{ name, bad, says string }{
		{"refused", strings.Replace(good, "name: marbles.", "name: pebbles.", 1), "must be spec.names.plural"},
		{"not established", definition("stones", "fail.helm.example.com", "Taken"), "CRDs are not established"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newTenant(t, "definitions-"+strings.ReplaceAll(c.name, " ", "-"), definingChart(c.bad))
			n.apply(definition("owners", "fail.helm.example.com", "Taken")) // whose kind nobody else gets
			if _, err := n.Cluster.WaitFor(within(t), definitionKind, "", "owners.fail.helm.example.com", says("Established", "True", "", "")); err != nil {
				t.Fatal(err)
			}
			n.release("app", "defining", "")
			u := n.await(releaseKind, "app", all(says("Released", "False", "InstallFailed", c.says), says("Ready", "False", "InstallFailed", "")))
			for field, want := range map[string]int64{"failures": 1, "installFailures": 0} {
				if have, _, _ := unstructured.NestedInt64(u.Object, "status", field); have != want {
					t.Errorf("status.%s is %d, want %d", field, have, want)
				}
			}
			n.unreleased("app")
			if err := n.Push(within(t), map[string]string{"defining/crds/crd.yaml": good}); err != nil {
				t.Fatal(err)
			}
			n.installed("app")
		})
	}
}

// held makes a definition that does not go: somebody deletes it, and its object has a finalizer. free lets it go.
func (n tenant) held(group string) (free func()) {
	n.t.Helper()
	n.apply(definition("balls", group, "Ball"))
	ball := schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Ball"}
	n.apply("apiVersion: " + group + "/v1\nkind: Ball\nmetadata: {name: red, finalizers: [example.com/hold]}\n")
	r, err := n.Cluster.Resource(definitionKind, "")
	if err == nil {
		err = r.Delete(within(n.t), "balls."+group, metav1.DeleteOptions{})
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return func() { n.patch(ball, "red", `{"metadata":{"finalizers":null}}`) }
}

// TestDefinitionsAwaited has an install wait for a definition that is being deleted. Killed and started again it goes on
// by itself, and what is wanted instead meanwhile is installed at once.
func TestDefinitionsAwaited(t *testing.T) {
	const waiting = "Running 'install' action"
	t.Run("killed", func(t *testing.T) {
		const group = "killed.helm.example.com"
		n := newTenant(t, "definitions-killed", definingChart(definition("balls", group, "Ball")))
		free := n.held(group)
		n.release("app", "defining", "")
		n.await(releaseKind, "app", says("Reconciling", "True", "Progressing", waiting))
		n.unreleased("app")
		world.Sluice.Process.Kill()
		<-world.Sluice.Process.Done()
		free()
		if _, err := n.Cluster.WaitFor(within(t), definitionKind, "", "balls."+group, gone); err != nil {
			t.Fatal(err)
		}
		if err := world.Sluice.Restart(within(t)); err != nil {
			t.Fatal(err)
		}
		n.installed("app")
	})
	t.Run("superseded", func(t *testing.T) {
		const group = "superseded.helm.example.com"
		n := newTenant(t, "definitions-superseded", definingChart(definition("balls", group, "Ball")))
		defer n.held(group)()
		n.release("app", "defining", "")
		n.await(releaseKind, "app", says("Reconciling", "True", "Progressing", waiting))
		if err := n.Push(within(t), map[string]string{"defining/crds/crd.yaml": definition("cubes", group, "Cube")}); err != nil {
			t.Fatal(err)
		}
		n.installed("app")
	})
}

// TestSupersededBeforeHooks takes an install back that waits for the place of its first hook: what is wanted instead is an
// install, and runs its hooks.
func TestSupersededBeforeHooks(t *testing.T) {
	n := newTenant(t, "before-hooks", definingChart(definition("rings", "before.helm.example.com", "Ring")))
	n.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app-hook, finalizers: [example.com/hold]}\n")
	n.release("app", "defining", "values: {a: b}\n")
	n.await(harness.ConfigMapKind, "app-hook", func(u *unstructured.Unstructured) bool { return u.GetDeletionTimestamp() != nil })
	n.await(releaseKind, "app", says("Reconciling", "True", "Progressing", "Running 'install' action"))
	before := n.await(secretKind, "sh.helm.release.v1.app.v1", exists).GetUID()
	n.patch(releaseKind, "app", `{"spec":{"values":{"a":"c"}}}`)
	n.await(secretKind, "sh.helm.release.v1.app.v1", func(u *unstructured.Unstructured) bool { return u != nil && u.GetUID() != before })
	n.patch(harness.ConfigMapKind, "app-hook", `{"metadata":{"finalizers":null}}`)
	n.installed("app")
}

// TestDefinitionPolicies upgrades a release whose chart has another version of a definition and a new one, and leaves
// out those of a subchart that is disabled.
func TestDefinitionPolicies(t *testing.T) {
	for _, c := range []struct {
		policy          string
		replaced, added bool
	}{
		{"", false, true}, {"Create", false, true}, {"Skip", false, false}, {"CreateReplace", true, true},
	} {
		group := strings.ToLower("policy" + c.policy + ".helm.example.com")
		files := definingChart(definition("rings", group, "Ring"))
		files["defining/Chart.yaml"] += "dependencies: [{name: part, version: 1.0.0, condition: part.enabled}]\n"
		files["defining/values.yaml"] = "part: {enabled: false}\n"
		files["defining/charts/part/Chart.yaml"] = "apiVersion: v2\nname: part\nversion: 1.0.0\n"
		files["defining/charts/part/crds/crd.yaml"] = definition("parts", group, "Part")
		n := newTenant(t, strings.ToLower("policy-"+c.policy+"x"), files)
		spec := "values: {round: one}\n"
		if c.policy != "" {
			spec += "upgrade: {crds: " + c.policy + "}\n"
		}
		n.release("app", "defining", spec)
		n.installed("app")
		change := map[string]string{
			"defining/crds/crd.yaml": definition("rings", group, "Ring", "v2"), "defining/crds/new.yaml": definition("chains", group, "Chain"),
			"defining/Chart.yaml": strings.Replace(files["defining/Chart.yaml"], "version: 1.0.0\n", "version: 1.1.0\n", 1),
		}
		if err := n.Push(within(t), change); err != nil {
			t.Fatal(err)
		}
		n.await(releaseKind, "app", all(says("Ready", "True", "UpgradeSucceeded", "app.v2"), current))
		for plural, want := range map[string]bool{"rings": true, "chains": c.added, "parts": false} {
			u, err := n.Cluster.Get(within(t), definitionKind, "", plural+"."+group)
			if err != nil && !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
			if (err == nil) != want {
				t.Errorf("policy %q: looking for %s: %v", c.policy, plural, err)
			}
			if plural != "rings" || err != nil {
				continue
			}
			if versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions"); (len(versions) == 2) != c.replaced {
				t.Errorf("policy %q: the definition has %d versions", c.policy, len(versions))
			}
		}
	}
}
