package applier_test

import (
	"fmt"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
)

func pruneCases() []testCase {
	return []testCase{
		{"rename", "what left the render is deleted and leaves the inventory", pruneRename},
		{"off", "with prune off, what left the render is forgotten", pruneOff},
		{"opted out", "an object annotated prune: disabled survives", pruneOptedOut},
		{"foreign", "an object that belongs to somebody else by now survives", pruneForeign},
		{"after a failure", "what an attempt made before it failed is not forgotten", pruneAfterFailure},
		{"deleted after a failure", "nor when the Kustomization is deleted then", pruneDeletedAfterFailure},
		{"refused", "an attempt that wrote nothing leaves the inventory as it was", pruneRefused},
		{"ssa Ignore", "an object that is annotated ssa: Ignore is pruned neither as stale nor with the Kustomization", pruneIgnored},
		{"ssa IfNotPresent", "is no protection from pruning", pruneIfNotPresent},
		{"rejected", "an entry whose deletion is refused stays until a retry works", pruneRejected},
		{"empty", "an empty render prunes everything, and a later one restores it", pruneEmpty},
	}
}

func pruneRename(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("old", "1"))
	a.ready()
	a.moveSource("main@sha1:2")
	a.build(configMap("new", "1"))
	a.keepsOnly(a.ready(), "new")
	a.absent("old")
	a.event("Normal", "Progressing", "ConfigMap/"+a.namespace+"/old deleted")
	a.until("pruned is in the journal", func() error {
		for _, e := range a.history() {
			if data, err := events.Decode[events.Pruned](e); err == nil && len(data.Objects) == 1 && data.Objects[0].Name == "old" {
				return nil
			}
		}
		return fmt.Errorf("journal is %v", a.journal())
	})
}

func pruneOff(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.Prune = false })
	a.build(configMap("old", "1"))
	a.ready()
	a.moveSource("main@sha1:2")
	a.build(configMap("new", "1"))
	a.keepsOnly(a.ready(), "new")
	a.holds("old", "1")
}

func pruneOptedOut(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: kept\n  namespace: NS\n  annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}\ndata: {v: \"1\"}\n", configMap("left", "1"))
	a.ready()
	a.control("left", "reconcile", "Disabled")
	a.moveSource("main@sha1:2")
	a.build(configMap("new", "1"))
	a.keepsOnly(a.ready(), "new")
	a.settled()
	a.holds("kept", "1")
	a.holds("left", "1")
}

func pruneForeign(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("moved", "1"), configMap("stays", "1"))
	a.ready()
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = true })
	cm, err := a.configMap("moved")
	if err != nil {
		t.Fatal(err)
	}
	before := cm.DeepCopy()
	cm.Labels["kustomize.toolkit.fluxcd.io/name"] = "other"
	if err := a.Patch(t.Context(), cm, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = false })
	a.moveSource("main@sha1:2")
	a.build(configMap("stays", "1"))
	a.keepsOnly(a.ready(), "stays")
	a.settled()
	a.holds("moved", "1")
}

// keepsOnly checks that the inventory has one ConfigMap and nothing else.
func (a *app) keepsOnly(ks *kustomizev1.Kustomization, name string) {
	a.t.Helper()
	if e := ks.Status.Inventory.Entries; len(e) != 1 || e[0].ID != a.namespace+"_"+name+"__ConfigMap" {
		a.t.Errorf("inventory is %v", e)
	}
}

// halfway is a render whose first stage is applied and whose second is refused.
func halfway() []string {
	role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: NS-made}\nrules: []\n"
	return []string{role, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad, namespace: NS}\ndata: {\"not a key\": \"1\"}\n"}
}

func (a *app) roleIsGone() error {
	err := a.Get(a.t.Context(), client.ObjectKey{Name: a.namespace + "-made"}, &rbacv1.ClusterRole{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("ClusterRole: %w", err)
}

func pruneAfterFailure(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(halfway()...)
	a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "bad")
	if a.roleIsGone() == nil {
		t.Fatal("the first stage was not applied; the case shows nothing")
	}
	a.moveSource("main@sha1:2")
	a.build(configMap("good", "1"))
	a.ready()
	a.until("what the failed attempt made is pruned", a.roleIsGone)
}

func pruneDeletedAfterFailure(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(halfway()...)
	a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "bad")
	a.delete()
	a.until("what the failed attempt made is deleted", a.roleIsGone)
}

func pruneRefused(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	a.moveSource("main@sha1:2")
	a.build(configMap("two", "1"), halfway()[1])
	a.keepsOnly(a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "bad"), "one")
	a.holds("one", "1")
}

// control sets a control annotation of a live ConfigMap.
func (a *app) control(name, key, value string) {
	a.t.Helper()
	cm, err := a.configMap(name)
	if err != nil {
		a.t.Fatal(err)
	}
	before := cm.DeepCopy()
	cm.Annotations = map[string]string{"kustomize.toolkit.fluxcd.io/" + key: value}
	if err := a.Patch(a.t.Context(), cm, client.MergeFrom(before), client.FieldOwner("somebody")); err != nil {
		a.t.Fatal(err)
	}
}

func pruneIgnored(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("stale", "1"), configMap("last", "1"), configMap("goes", "1"))
	a.ready()
	a.control("stale", "ssa", "Ignore")
	a.control("last", "ssa", "ignore")
	a.moveSource("main@sha1:2")
	a.build(configMap("last", "1"), configMap("goes", "1"))
	a.ready()
	a.delete()
	a.absent("goes")
	a.holds("stale", "1")
	a.holds("last", "1")
}

func pruneIfNotPresent(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: NS, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}\ndata: {v: \"1\"}\n")
	a.ready()
	a.moveSource("main@sha1:2")
	a.build()
	a.ready()
	a.absent("one")
}

func pruneRejected(t *testing.T, w *world) {
	a := w.newApp(t, asAccount)
	a.grant()
	a.build(configMap("one", "1"), configMap("two", "1"))
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
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "1"))
	refused := "ConfigMap/" + a.namespace + "/two delete failed"
	ks := a.condition(kube.ConditionReady, "False", "PruneFailed", refused)
	if e := ks.Status.Inventory.Entries; len(e) != 2 || ks.Status.LastAppliedRevision == a.revision || ks.Status.LastAttemptedRevision != a.revision {
		t.Errorf("status is %s", a.describe())
	}
	a.condition(kube.ConditionReconciling, "True", "ProgressingWithRetry", refused)
	a.event("Warning", "PruneFailed", refused)
	may("*")
	a.keepsOnly(a.ready(), "one")
	a.absent("two")
}

func pruneEmpty(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	a.moveSource("main@sha1:2")
	a.build()
	a.ready()
	a.absent("one")
	a.moveSource("main@sha1:3")
	a.build(configMap("one", "1"))
	a.ready()
	a.holds("one", "1")
}

func deleteCases() []testCase {
	policy := func(policy string, prune, suspend, stays bool) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.DeletionPolicy, ks.Spec.Prune = policy, prune })
			a.build(configMap("one", "1"))
			a.ready()
			if suspend {
				a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = true })
			}
			a.delete()
			if !stays {
				a.absent("one")
				return
			}
			a.holds("one", "1")
		}
	}
	return []testCase{
		{"Delete", "overrides prune: false", policy(kustomizev1.DeletionPolicyDelete, false, false, false)},
		{"WaitForTermination", "overrides prune: false and waits", policy(kustomizev1.DeletionPolicyWaitForTermination, false, false, false)},
		{"MirrorPrune", "deletes when prune is on", policy(kustomizev1.DeletionPolicyMirrorPrune, true, false, false)},
		{"MirrorPrune off", "orphans when prune is off", policy(kustomizev1.DeletionPolicyMirrorPrune, false, false, true)},
		{"Orphan", "overrides prune: true", policy(kustomizev1.DeletionPolicyOrphan, true, false, true)},
		{"suspended", "a suspended object goes and leaves its objects", policy(kustomizev1.DeletionPolicyDelete, true, true, true)},
		{"failing", "what could not be built can still be deleted", deleteFailing},
	}
}

func deleteFailing(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	a.moveSource("main@sha1:2")
	a.publish(events.BuildFailed{BuildInput: a.input(a.get()), Reason: "BuildFailed", Message: "kustomize build failed: x.yaml"})
	a.condition(kube.ConditionReady, "False", "BuildFailed", "x.yaml")
	a.delete()
	a.absent("one")
}

// delete deletes the Kustomization and waits until it is gone.
func (a *app) delete() {
	a.t.Helper()
	if err := a.world.Delete(a.t.Context(), a.get()); err != nil {
		a.t.Fatal(err)
	}
	a.until("Kustomization is gone", func() error {
		err := a.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: a.name}, &kustomizev1.Kustomization{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there: %w", err)
	})
}
