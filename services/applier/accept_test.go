package applier_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
)

// acceptCases are acceptance cases of Flux that are about applying, by their names
// there; docs/compatibility.md lists them all.
func acceptCases() []testCase {
	return []testCase{
		{"managed-fields", "what was applied with kubectl is taken over, once and again", managedFields},
		{"StagedApply", "a namespace, a definition, its object and a class in one render apply the first time", stagedApply},
		{"RESTMapper", "a kind that the same run defines is discovered; so is that it went and came back", restMapper},
		{"Inventory", "ids are as Flux writes them, names of RBAC objects with colons too", inventoryIDs},
		{"History", "at most five entries, one for each digest and status, with totals", historyBound},
		{"OriginRevision", "the origin's revision is in the status, the history and the events", originRevision},
		{"Force by annotation", "an object's own annotation recreates it, and no other", forceAnnotation},
		{"ssa", "Override, Merge, IfNotPresent and Ignore do what they say", ssaModes},
		{"DriftIgnoreRules", "an ignored field keeps its out-of-band value; other fields are put back", driftIgnoreRules},
		{"cluster-scoped", "an object of a kind without namespace is one object, whatever namespace its manifest names", clusterScoped},
		{"Impersonation", "a workload applied as a service account is deleted with the Kustomization", impersonation},
	}
}

func acceptAloneCases() []testCase {
	return []testCase{
		{"status-defaults", "what no controller has seen yet says so, in each kind", statusDefaults},
		{"before finalizer", "what is deleted before it got the finalizer is let go without one", deletedBeforeFinalizer},
		{"DependsOn_CEL, additive", "with the gate, an expression does not replace the built-in check", celAdditive},
		{"DisallowedManagers", "with override-manager, a key that this manager added is removed", disallowedManagers},
		{"AppliesRoleAndRoleBinding", "an account that may not bind needs the Role applied first", appliesRoleAndRoleBinding},
	}
}

// managers returns who manages fields of a ConfigMap, status aside.
func (a *app) managers(name string) []string {
	a.t.Helper()
	cm, err := a.configMap(name)
	if err != nil {
		a.t.Fatal(err)
	}
	var managers []string
	for _, e := range cm.ManagedFields {
		managers = append(managers, e.Manager)
	}
	return managers
}

// taken waits until a ConfigMap has nothing of kubectl any more.
func (a *app) taken(name string) {
	a.t.Helper()
	a.until("kubectl manages nothing of "+name, func() error {
		managers := a.managers(name)
		cm, err := a.configMap(name)
		if err != nil {
			return err
		}
		if _, ok := cm.Annotations["kubectl.kubernetes.io/last-applied-configuration"]; ok || strings.Contains(fmt.Sprint(managers), "kubectl") {
			return fmt.Errorf("managers are %v, annotations %v", managers, cm.Annotations)
		}
		if _, ok := cm.Data["extra"]; ok {
			return fmt.Errorf("data is %v", cm.Data)
		}
		return nil
	})
}

func managedFields(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	before := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: a.namespace, Name: "one",
			Annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"},
		},
		Data: map[string]string{"v": "0", "extra": "kubectl's"},
	}
	if err := a.Create(t.Context(), before, client.FieldOwner("kubectl-client-side-apply")); err != nil {
		t.Fatal(err)
	}
	a.build(configMap("one", "1"))
	a.ready()
	a.taken("one")
	a.settled()
	patch := "apiVersion: v1\nkind: ConfigMap\ndata: {v: \"2\", extra: \"kubectl's\"}\n"
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "one"}}
	if err := a.Patch(t.Context(), cm, client.RawPatch("application/apply-patch+yaml", []byte(patch)), client.FieldOwner("kubectl"), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
	a.annotate(kube.RequestedAt, "again")
	a.taken("one")
	a.holds("one", "1")
	a.ready()
}

// definition is a manifest of a kind of the app's own.
func (a *app) definition() string {
	return fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.%[1]s.example.com}
spec:
  group: %[1]s.example.com
  scope: Namespaced
  names: {kind: Widget, plural: widgets}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`, a.namespace)
}

func (a *app) widget(namespace string) string {
	return fmt.Sprintf("apiVersion: %s.example.com/v1\nkind: Widget\nmetadata: {name: w, namespace: %s}\n", a.namespace, namespace)
}

// exists says whether an object of a manifest exists; a kind that is not served has none.
func (a *app) exists(apiVersion, kind, namespace, name string) error {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	return a.Get(a.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, u)
}

func stagedApply(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(
		a.widget("NS-made"), strings.ReplaceAll(configMap("one", "1"), "namespace: NS", "namespace: NS-made"),
		"apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: NS}\nvalue: 7\n",
		a.definition(), "apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-made}\n",
	)
	a.ready()
	for _, e := range a.history() {
		if strings.Contains(e.Type(), "failed") {
			t.Errorf("it took more than one attempt: %v", a.journal())
		}
	}
	if err := a.exists(a.namespace+".example.com/v1", "Widget", a.namespace+"-made", "w"); err != nil {
		t.Error(err)
	}
	if err := a.Get(t.Context(), client.ObjectKey{Name: a.namespace}, &schedulingv1.PriorityClass{}); err != nil {
		t.Error(err)
	}
	a.delete()
}

func restMapper(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	for n := range 2 {
		a.moveSource(fmt.Sprintf("main@sha1:with-%d", n))
		a.build(a.definition(), a.widget("NS"))
		a.ready()
		if err := a.exists(a.namespace+".example.com/v1", "Widget", a.namespace, "w"); err != nil {
			t.Fatal(err)
		}
		a.moveSource(fmt.Sprintf("main@sha1:without-%d", n))
		a.build()
		ks := a.ready()
		if e := ks.Status.Inventory.Entries; len(e) != 0 {
			t.Errorf("inventory is %v", e)
		}
		a.until("definition is gone", func() error {
			err := a.exists("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "widgets."+a.namespace+".example.com")
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("definition: %w", err)
		})
	}
}

func inventoryIDs(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: \"NS:read:all\"}\nrules: []\n"
	a.build(role, configMap("one", "1"))
	ks := a.ready()
	a.event("Normal", "Progressing", "ClusterRole/"+a.namespace+":read:all created\n")
	var ids []string
	for _, e := range ks.Status.Inventory.Entries {
		ids = append(ids, e.ID+" "+e.Version)
	}
	want := []string{"_" + a.namespace + "__read__all_rbac.authorization.k8s.io_ClusterRole v1", a.namespace + "_one__ConfigMap v1"}
	if fmt.Sprint(ids) != fmt.Sprint(want) {
		t.Errorf("inventory is %v, want %v", ids, want)
	}
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "1"))
	a.ready()
	a.until("the role is pruned by its id", func() error {
		if err := a.Get(t.Context(), client.ObjectKey{Name: a.namespace + ":read:all"}, &rbacv1.ClusterRole{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("ClusterRole: %w", err)
		}
		return nil
	})
}

func historyBound(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	for n := range 7 {
		a.moveSource(fmt.Sprintf("main@sha1:%d", n))
		a.build(configMap("one", fmt.Sprint(n)))
		a.ready()
	}
	a.moveSource("main@sha1:again")
	a.build(configMap("one", "5"))
	ks := a.ready()
	h := ks.Status.History // an attempt under way has a place too, so there may be one less
	if len(h) > 5 || len(h) < 4 || h[0].TotalReconciliations != 2 || h[0].Metadata["revision"] != a.revision {
		t.Fatalf("history is %+v", h)
	}
	seen := map[string]bool{}
	for n, e := range h {
		key := e.Digest + e.LastReconciledStatus
		if seen[key] || e.LastReconciledStatus != "ReconciliationSucceeded" || e.FirstReconciled.IsZero() {
			t.Errorf("entry %d is %+v", n, e)
		}
		seen[key] = true
	}
}

func originRevision(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	ks := a.ready()
	origin := "origin-" + a.revision
	if ks.Status.LastAppliedOriginRevision != origin || ks.Status.History[0].Metadata["originRevision"] != origin {
		t.Errorf("status is %+v", ks.Status)
	}
	e := a.event("Normal", "ReconciliationSucceeded", "Reconciliation finished in")
	for key, want := range map[string]string{"originRevision": origin, "revision": a.revision, "commit_status": "update"} {
		if got := e.Annotations["kustomize.toolkit.fluxcd.io/"+key]; got != want {
			t.Errorf("event's %s is %q, want %q", key, got, want)
		}
	}
}

// sealedMap is a manifest of an immutable ConfigMap.
func sealedMap(name, value, annotations string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nimmutable: true\nmetadata: {name: %s, namespace: NS, annotations: {%s}}\ndata: {v: %q}\n", name, annotations, value)
}

func forceAnnotation(t *testing.T, w *world) {
	const enabled = "kustomize.toolkit.fluxcd.io/force: Enabled"
	a := w.newApp(t, nil)
	a.build(sealedMap("one", "1", enabled), sealedMap("two", "1", ""))
	a.ready()
	a.moveSource("main@sha1:2")
	a.build(sealedMap("one", "2", enabled), sealedMap("two", "1", ""))
	a.ready()
	a.holds("one", "2")
	a.moveSource("main@sha1:3")
	a.build(sealedMap("one", "2", enabled), sealedMap("two", "2", ""))
	a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "immutable")
	a.holds("two", "1")
}

func ssaModes(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	manifest := func(name, mode, value string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: NS, labels: {kustomize.toolkit.fluxcd.io/ssa: %s}}\ndata: {v: %q}\n", name, mode, value)
	}
	modes := []string{"override", "merge", "ifnotpresent", "ignore"}
	render := func(value string) []string {
		var all []string
		for _, mode := range modes {
			all = append(all, manifest(mode, mode, value))
		}
		return all
	}
	a.build(render("1")...)
	if ks := a.ready(); len(ks.Status.Inventory.Entries) != len(modes) {
		t.Errorf("inventory is %v", ks.Status.Inventory.Entries)
	}
	if _, err := a.configMap("ignore"); !apierrors.IsNotFound(err) {
		t.Errorf("an object to ignore was applied: %v", err)
	}
	for _, mode := range []string{"override", "merge"} {
		cm, err := a.configMap(mode)
		if err != nil {
			t.Fatal(err)
		}
		before := cm.DeepCopy()
		cm.Data["extra"] = "kubectl's"
		if err := a.Patch(t.Context(), cm, client.MergeFrom(before), client.FieldOwner("kubectl-edit")); err != nil {
			t.Fatal(err)
		}
	}
	a.moveSource("main@sha1:2")
	a.build(render("2")...)
	a.ready()
	a.holds("merge", "2")
	a.holds("ifnotpresent", "1")
	a.until("override takes over, merge does not", func() error {
		override, err := a.configMap("override")
		if err != nil {
			return err
		}
		merge, err := a.configMap("merge")
		if err != nil {
			return err
		}
		if override.Data["extra"] != "" || override.Data["v"] != "2" || merge.Data["extra"] == "" {
			return fmt.Errorf("override %v, merge %v", override.Data, merge.Data)
		}
		return nil
	})
}

func impersonation(t *testing.T, w *world) {
	a := w.newApp(t, asAccount)
	a.grant(rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"*"}})
	a.build("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: NS}\nspec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: c}]}}}\n")
	a.ready()
	a.delete()
	a.until("Deployment is gone", func() error {
		if err := a.exists("apps/v1", "Deployment", a.namespace, "web"); !apierrors.IsNotFound(err) {
			return fmt.Errorf("Deployment: %w", err)
		}
		return nil
	})
}

func disallowedManagers(t *testing.T, w *world) {
	w.with(applier.Settings{OverrideManagers: []string{"some-ui"}}, func() {
		a := w.newApp(t, nil)
		a.build(configMap("one", "1"))
		a.ready()
		a.settled()
		cm, err := a.configMap("one")
		if err != nil {
			t.Fatal(err)
		}
		before := cm.DeepCopy()
		cm.Data["extra"] = "from the UI"
		if err := a.Patch(t.Context(), cm, client.MergeFrom(before), client.FieldOwner("some-ui-v2")); err != nil {
			t.Fatal(err)
		}
		a.until("the key is removed", func() error {
			cm, err := a.configMap("one")
			if err == nil && cm.Data["extra"] != "" {
				err = errors.New("it is still there")
			}
			return err
		})
	})
}

func appliesRoleAndRoleBinding(t *testing.T, w *world) {
	role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: made, namespace: NS}\nrules: [{apiGroups: [\"\"], resources: [configmaps], verbs: [get]}]\n"
	binding := "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: made, namespace: NS}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: made}\nsubjects: [{kind: ServiceAccount, name: default, namespace: NS}]\n"
	var a *app
	w.with(applier.Settings{}, func() {
		a = w.newApp(t, func(ks *kustomizev1.Kustomization) {
			asAccount(ks)
			ks.Spec.RetryInterval.Duration = time.Second
		})
		a.grant(rbacv1.PolicyRule{
			APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"},
			Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete"},
		})
		a.build(role, binding)
		a.condition(kube.ConditionReady, "False", "ReconciliationFailed", `"made" not found`)
	})
	w.with(applier.Settings{StageKinds: []string{"rbac.authorization.k8s.io/Role"}}, func() { a.ready() })
}
