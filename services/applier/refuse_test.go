package applier_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/seal"
)

func refuseCases() []testCase {
	fails := func(message string, manifests ...string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			a := w.newApp(t, nil)
			a.build(manifests...)
			a.condition(kube.ConditionReady, "False", "ReconciliationFailed", message)
			a.condition(kube.ConditionReconciling, "True", "ProgressingWithRetry", message)
			if ks := a.get(); ks.Status.ObservedGeneration == ks.Generation || ks.Status.LastAppliedRevision != "" {
				t.Errorf("status is %s", a.describe())
			}
			e := a.event("Warning", "ReconciliationFailed", message)
			for key, want := range map[string]string{"revision": a.revision, "originRevision": "origin-" + a.revision} {
				if got := e.Annotations["kustomize.toolkit.fluxcd.io/"+key]; got != want {
					t.Errorf("event's %s is %q, want %q", key, got, want)
				}
			}
			a.logged(message)
			a.moveSource("main@sha1:fixed")
			a.build(configMap("fixed", "1"))
			a.ready()
		}
	}
	return []testCase{
		{"unknown kind", "a kind that the API server does not serve is named", fails("Nothing", configMap("one", "1"), "apiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: x, namespace: NS}\n")},
		{"missing namespace", "an object for a namespace that does not exist", fails("nowhere", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: nowhere}\n")},
		{"invalid object", "the other objects of the stage stay untouched", fails("", "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: NS}\nspec: {ports: [{port: 99999}]}\n")},
		{"too many objects", "more than the status can list are refused by their number, before the first is made", fails("its status has no room to list 8000 objects", many(8000)...)},
		{"immutable field", "fails until force recreates the object", immutable},
		{"recreate times out", "an object that force makes anew and that does not go is named with its finalizers", recreateTimesOut},
		{"recreate holds the rest", "while an object that is to be made anew does not go, what else was applied is put back", recreateHolds},
		{"recreate superseded", "a newer revision does not wait for the deletion before a recreation", recreateSuperseded},
		{"fields that cannot change", "of several objects: each in short, with a remedy, until force makes them anew", fixedFields},
		{"again and again", "a failure that is tried again is one error in the log, until it changes", saidOnce},
		{"forged head", "a head signed with another key is never applied", forged},
		{"foreign head", "a head of another object is never applied", foreignHead},
		{"damaged render", "a damaged render is not applied, and heals", damaged},
		{"unsupported fields", "a field that is not served stalls by name", unsupported},
		{"long name", "a name that no label can hold stalls", longName},
		{"no artifact", "a source that is gone is reported and what runs stays", noSource},
	}
}

// many are so many ConfigMaps with long names.
func many(objects int) []string {
	manifests := make([]string, objects)
	for n := range manifests {
		manifests[n] = configMap(fmt.Sprintf("%s-%d", strings.Repeat("n", 200), n), "1")
	}
	return manifests
}

func immutable(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(fixedSecret("1"))
	a.ready()
	a.moveSource("main@sha1:2")
	a.build(fixedSecret("2"))
	a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "immutable")
	a.event("Warning", "ReconciliationFailed", "field is immutable")
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Force = true })
	a.build(fixedSecret("2"))
	a.ready()
	if s := a.fixed(); string(s.Data["v"]) != "2" {
		t.Errorf("secret holds %q", s.Data["v"])
	}
}

func saidOnce(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.RetryInterval.Duration = time.Second })
	port := func(n int) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: NS}\nspec: {ports: [{port: %d}]}\n", n)
	}
	for step, tt := range []struct {
		why      string
		manifest string
		lines    int
	}{
		{"a new failure", port(70001), 1},
		{"another one", port(70002), 2},
		{"none", port(80), 2},
		{"the same after a success", port(70002), 3},
	} {
		a.moveSource(fmt.Sprintf("main@sha1:said-%d", step))
		before := a.attempts()
		a.build(tt.manifest)
		if tt.manifest == port(80) {
			a.ready()
		} else {
			a.until("it is tried again", func() error {
				if n := a.attempts() - before; n < 3 {
					return fmt.Errorf("it was tried %d times", n)
				}
				return nil
			})
		}
		if got := a.logs.about("level=ERROR", "pass failed", "namespace="+a.namespace); len(got) != tt.lines {
			t.Errorf("%s: there are %d lines, want %d: %q", tt.why, len(got), tt.lines, got)
		}
	}
}

// attempts counts the attempts that the status remembers. The journal keeps only the newest 16
// events.
func (a *app) attempts() (n int64) {
	a.t.Helper()
	for _, h := range a.get().Status.History {
		n += h.TotalReconciliations
	}
	return n
}

func fixedFields(t *testing.T, w *world) {
	kinds := []string{"Job", "PersistentVolumeClaim", "Service"}
	manifests := func(image, class, address string) []string {
		return []string{
			"apiVersion: batch/v1\nkind: Job\nmetadata: {name: x, namespace: NS}\nspec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: a, image: " + image + "}]}}}",
			"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: x, namespace: NS}\nspec: {storageClassName: " + class + ", accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}",
			"apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: NS}\nspec: {clusterIP: " + address + ", ports: [{port: 80}]}",
		}
	}
	a := w.newApp(t, nil)
	a.build(manifests("one", "one", "10.96.8.1")...)
	a.ready()
	uids := map[string]types.UID{}
	live := func(kind string) *unstructured.Unstructured {
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
		if kind == "Job" {
			o.SetAPIVersion("batch/v1")
		}
		if err := a.Get(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "x"}, o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	for _, kind := range kinds {
		uids[kind] = live(kind).GetUID()
	}
	a.moveSource("main@sha1:2")
	a.build(manifests("two", "two", "10.96.8.2")...)
	ks := a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "immutable")
	ready := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReady).Message
	for _, words := range []string{
		"Job/" + a.namespace + `/x dry-run failed (Invalid): Job.batch "x" is invalid: spec.template.spec: field is immutable: set spec.force: true`,
		"PersistentVolumeClaim/" + a.namespace + `/x dry-run failed (Invalid): PersistentVolumeClaim "x" is invalid: spec: Forbidden: spec is immutable after creation`,
		"Service/" + a.namespace + `/x dry-run failed (Invalid): Service "x" is invalid: spec.clusterIPs[0]: may not change once set`,
	} {
		if !strings.Contains(ready, words) {
			t.Errorf("the status does not say %q: %s", words, ready)
		}
	}
	told := a.event("Warning", "ReconciliationFailed", "spec.force: true").Message
	for _, kind := range kinds {
		if !strings.Contains(told, kind+"/"+a.namespace+"/x") {
			t.Errorf("the Event does not name the %s: %s", kind, told)
		}
		if live(kind).GetUID() != uids[kind] {
			t.Errorf("the %s was made anew without force", kind)
		}
	}
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Force = true })
	a.build(manifests("two", "two", "10.96.8.2")...)
	a.ready()
	for _, kind := range kinds {
		if live(kind).GetUID() == uids[kind] {
			t.Errorf("force did not make the %s anew", kind)
		}
	}
}

func forged(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	thief, err := seal.ParseKeyring(seal.NewKeyringData())
	if err != nil {
		t.Fatal(err)
	}
	a.moveSource("main@sha1:2")
	a.publish(a.seal(thief, configMap("one", "stolen")))
	a.condition(kube.ConditionReady, "False", "ArtifactFailed", "not authentic")
	a.logged("not authentic")
	a.settled()
	a.holds("one", "1")
	a.build(configMap("one", "2"))
	a.ready()
	a.holds("one", "2")
}

func foreignHead(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	b := a.as("other")
	a.create(b.name, nil)
	data := b.seal(b.keys, configMap("one", "other"))
	data.UID = string(a.get().UID)
	a.publish(data)
	a.condition(kube.ConditionReady, "False", "ArtifactFailed", "not authentic")
	if _, err := a.configMap("one"); err == nil {
		t.Error("the render of another object was applied")
	}
}

func damaged(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	data := a.seal(a.keys, configMap("one", "1"))
	if err := a.blobs.Replace(t.Context(), data.Render, []byte("damaged"), blob.Digest([]byte("damaged"))); err != nil {
		t.Fatal(err)
	}
	a.publish(data)
	a.condition(kube.ConditionReady, "False", "ArtifactFailed", "missing or damaged")
	if err := a.blobs.Delete(t.Context(), data.Render); err != nil {
		t.Fatal(err)
	}
	a.seal(a.keys, configMap("one", "1")) // the builder was asked and stores it again
	a.ready()
	a.holds("one", "1")
}

func unsupported(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "x"}
	})
	const message = "spec.decryption.serviceAccountName is not served"
	ks := a.condition(kube.ConditionStalled, "True", "FeatureGateDisabled", message)
	a.condition(kube.ConditionReady, "False", "FeatureGateDisabled", message)
	a.event("Warning", "FeatureGateDisabled", message)
	if ks.Status.ObservedGeneration != ks.Generation {
		t.Error("observedGeneration lags")
	}
}

func longName(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	long := a.as(strings.Repeat("n", 64))
	long.create(long.name, nil)
	long.condition(kube.ConditionStalled, "True", "ReconciliationFailed", "64 characters")
}

func noSource(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.SourceRef.Name = "missing" })
	a.condition(kube.ConditionReady, "False", "ArtifactFailed", "not found")
	if ks := a.get(); ks.Status.ObservedGeneration == ks.Generation {
		t.Error("observedGeneration moved")
	}
	a.holds("one", "1")
}

func accountCases() []testCase {
	return []testCase{
		{"rights", "objects are applied with the rights of the service account", accountRights},
		{"own rights", "an account whose own rights are among the objects deletes everything else first", accountOwnRights},
		{"refused", "rights that are among the objects outlast a deletion that is refused, for the retry needs them", accountRefused},
		{"waited", "rights that are among the objects outlast the wait for the others", accountWaited},
		{"many rights", "rights that an account was allowed to delete go, although it loses its own meanwhile", accountManyRights},
		{"lost", "rights that were lost keep the objects and the Kustomization, until they are back", accountLost},
		{"gone", "an object whose service account is gone still finalises", accountGone},
	}
}

func asAccount(ks *kustomizev1.Kustomization) { ks.Spec.ServiceAccountName = "tenant" }

// grant gives the account rights to ConfigMaps and what further rules say.
func (a *app) grant(further ...rbacv1.PolicyRule) {
	a.t.Helper()
	grantIn(a.t, a.Client, a.namespace, further...)
}

// grantIn makes a service account tenant in a cluster that may do all with ConfigMaps
// of its namespace, and what further rules say.
func grantIn(t *testing.T, c client.Client, namespace string, further ...rbacv1.PolicyRule) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "tenant"}
	for _, o := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: meta},
		&rbacv1.Role{ObjectMeta: meta, Rules: append(further, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"*"}})},
		&rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "tenant"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: "tenant"}},
		},
	} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func accountRights(t *testing.T, w *world) {
	a := w.newApp(t, asAccount)
	a.build(configMap("one", "1"))
	a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "system:serviceaccount:"+a.namespace+":tenant")
	a.grant()
	a.ready()
	a.delete()
	a.absent("one")
}

// ownRights are the manifests of all that an account needs to delete itself and ConfigMaps.
func ownRights() []string {
	const named = "metadata: {name: own, namespace: NS}\n"
	const group = "apiVersion: rbac.authorization.k8s.io/v1\n"
	return []string{
		group + "kind: Role\n" + named + `rules: [{apiGroups: [""], resources: [configmaps, serviceaccounts], verbs: ["*"]}, {apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: ["*"]}]`,
		group + "kind: RoleBinding\n" + named + "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: own}\nsubjects: [{kind: ServiceAccount, name: tenant, namespace: NS}]\n",
	}
}

// buildsOwnRights applies manifests and the account's rights, and takes away those it
// began with.
func (a *app) buildsOwnRights(manifests ...string) {
	a.t.Helper()
	a.grant(
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"*"}},
		rbacv1.PolicyRule{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"}, Verbs: []string{"*"}},
	)
	a.build(append(ownRights(), manifests...)...)
	a.ready()
	a.withdraw()
}

// withdraw takes away what grant gave.
func (a *app) withdraw() {
	a.t.Helper()
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "tenant"}}
	if err := a.Delete(a.t.Context(), binding); err != nil {
		a.t.Fatal(err)
	}
}

// noRights checks that the account's own rights are gone.
func (a *app) noRights() {
	a.t.Helper()
	for _, o := range []client.Object{&rbacv1.Role{}, &rbacv1.RoleBinding{}} {
		if err := a.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "own"}, o); !apierrors.IsNotFound(err) {
			a.t.Errorf("%T: %v", o, err)
		}
	}
}

func accountOwnRights(t *testing.T, w *world) {
	a := w.newApp(t, asAccount)
	a.buildsOwnRights(configMap("one", "1"), "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: tenant, namespace: NS}\n")
	a.delete()
	a.absent("one")
	account := &corev1.ServiceAccount{}
	if err := a.Get(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "tenant"}, account); !apierrors.IsNotFound(err) {
		t.Errorf("service account: %v", err)
	}
}

func accountRefused(t *testing.T, w *world) {
	a := w.newApp(t, asAccount)
	a.buildsOwnRights(configMap("one", "1"))
	allow := a.refuseDeletion("one")
	if err := w.Delete(t.Context(), a.get()); err != nil {
		t.Fatal(err)
	}
	a.event("Warning", "PruneFailed", "ConfigMap/"+a.namespace+"/one delete failed")
	allow()
	a.gone()
	a.absent("one")
	a.noRights()
}

// refuseDeletion lets the API server refuse the deletion of a ConfigMap.
func (a *app) refuseDeletion(name string) (allow func()) {
	a.t.Helper()
	meta := metav1.ObjectMeta{Name: a.namespace}
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: a.namespace}},
			ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{admissionv1.Delete},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}}},
		},
		Validations: []admissionv1.Validation{{Expression: "false"}},
	}}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: policy.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
	}}
	for _, o := range []client.Object{policy, binding} {
		if err := a.Create(a.t.Context(), o); err != nil {
			a.t.Fatal(err)
		}
	}
	doomed := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: name}}
	a.until("the deletion is refused", func() error {
		if err := a.Delete(a.t.Context(), doomed, client.DryRunAll); err == nil {
			return errors.New("it is allowed")
		}
		return nil
	})
	return func() {
		a.t.Helper()
		for _, o := range []client.Object{binding, policy} {
			if err := a.Delete(a.t.Context(), o); err != nil {
				a.t.Fatal(err)
			}
		}
	}
}

// accountManyRights has the account's own rights first in line, so that they are gone
// long before the last of the others is asked for.
func accountManyRights(t *testing.T, w *world) {
	a := w.newApp(t, asAccount)
	var roles []string
	for n := range 60 {
		roles = append(roles, fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: spare-%02d, namespace: NS}\nrules: []\n", n))
	}
	a.buildsOwnRights(roles...)
	a.delete()
	a.noRights()
	left := &rbacv1.RoleList{}
	if err := a.List(t.Context(), left, client.InNamespace(a.namespace), client.MatchingLabels{"kustomize.toolkit.fluxcd.io/name": a.name}); err != nil || len(left.Items) > 0 {
		t.Errorf("%d roles are left: %v", len(left.Items), err)
	}
}

func accountWaited(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		asAccount(ks)
		awaited(ks)
	})
	a.buildsOwnRights(configMap("one", "1"), held("slow"))
	if err := w.Delete(t.Context(), a.get()); err != nil {
		t.Fatal(err)
	}
	a.event("Warning", "Terminating", "ConfigMap/"+a.namespace+"/slow (held by finalizer "+finalizer+")")
	a.letGo("slow")
	a.gone()
	a.absent("one")
	a.noRights()
}

func accountLost(t *testing.T, w *world) {
	a := w.newApp(t, asAccount)
	a.grant()
	a.build(configMap("one", "1"))
	a.ready()
	role := &rbacv1.Role{}
	if err := a.Get(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "tenant"}, role); err != nil {
		t.Fatal(err)
	}
	may := func(verbs ...string) {
		role.Rules[0].Verbs = verbs
		if err := a.Update(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
	may("get", "create", "patch")
	if err := w.Delete(t.Context(), a.get()); err != nil {
		t.Fatal(err)
	}
	missing := "User \"system:serviceaccount:" + a.namespace + ":tenant\" cannot delete resource \"configmaps\" in API group \"\" in the namespace \"" + a.namespace + "\""
	a.event("Warning", "PruneFailed", missing)
	a.logged("cannot delete resource")
	a.holds("one", "1")
	may("*")
	a.gone()
	a.absent("one")
}

func accountGone(t *testing.T, w *world) {
	a := w.newApp(t, asAccount)
	a.grant()
	a.build(configMap("one", "1"))
	a.ready()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "tenant"}}
	if err := a.Delete(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	a.delete()
	a.holds("one", "1")
	a.event("Warning", "PruneFailed", "ConfigMap/"+a.namespace+"/one")
}
