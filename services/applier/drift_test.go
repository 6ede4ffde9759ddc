package applier_test

import (
	"fmt"
	"slices"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
)

func driftCases() []testCase {
	return []testCase{
		{"given back", "an object that the one who took it deletes is put back by the one it was taken from", givenBack},
		{"edit", "a foreign edit is put back and reported, the status stays", driftEdit},
		{"deleted", "a deleted object is made again", driftDeleted},
		{"broken build", "a broken newer build keeps the last good version, drift included", driftBroken},
		{"refused spec", "a field that is not served holds what runs, drift included", driftRefused},
		{"two owners", "an object that another Kustomization took and pruned comes back", driftTwoOwners},
		{"suspended", "a suspended object may be edited", driftSuspended},
		{"kubectl edit", "what kubectl changed and added goes, at once and without a request", driftKubectl},
		{"rollout restart", "a restart stays, also when the object is put back otherwise", driftRestart},
		{"opt-out", "a live annotation keeps us away for as long as it is there", driftOptOut},
		{"opt-out without labels", "the end of an opt-out that no watch shows is seen by the next apply", unfollowedOptOut},
		{"opt-out before the apply", "the end of an opt-out is seen of an object that was never applied, and so is its deletion", optedOutFirst},
		{"deleted without labels", "an object that no watch shows is made again by the next apply", unfollowedDeleted},
		{"unmanaged", "a field that nobody declared is left alone", driftUnmanaged},
	}
}

// setValue edits a ConfigMap as another field manager.
func (a *app) setValue(name, key, value string) {
	a.t.Helper()
	cm, err := a.configMap(name)
	if err != nil {
		a.t.Fatal(err)
	}
	before := cm.DeepCopy()
	cm.Data[key] = value
	if err := a.Patch(a.t.Context(), cm, client.MergeFrom(before), client.FieldOwner("somebody")); err != nil {
		a.t.Fatal(err)
	}
}

func (a *app) journalHas(types ...string) {
	a.t.Helper()
	a.until(fmt.Sprintf("journal has %v", types), func() error {
		all := a.journal()
		for _, want := range types {
			if !slices.Contains(all, want) {
				return fmt.Errorf("no %s", want)
			}
		}
		return nil
	})
}

func driftEdit(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"), configMap("two", "2"))
	a.ready()
	a.settled()
	before := a.get()
	a.setValue("one", "v", "foreign")
	a.holds("one", "1")
	a.journalHas(events.TypeDriftDetected, events.TypeDriftCorrected)
	a.event("Normal", "DriftCorrected", "ConfigMap/"+a.namespace+"/one configured")
	a.settled()
	if now := a.get(); now.ResourceVersion != before.ResourceVersion {
		t.Errorf("the correction wrote the Kustomization: %s", a.describe())
	}
}

func driftDeleted(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"), configMap("two", "2"))
	a.ready()
	cm, err := a.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	a.holds("one", "1")
	a.journalHas(events.TypeDriftDetected, events.TypeDriftCorrected)
}

func driftBroken(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	good := a.revision
	a.moveSource("main@sha1:broken")
	a.publish(events.BuildFailed{BuildInput: a.input(a.get()), Reason: "BuildFailed", Message: "kustomize build failed: app/bad.yaml"})
	ks := a.condition(kube.ConditionReady, "False", "BuildFailed", "app/bad.yaml")
	a.condition(kube.ConditionReconciling, "True", "ProgressingWithRetry", "app/bad.yaml")
	if ks.Status.LastAppliedRevision != good || ks.Status.LastAttemptedRevision != a.revision {
		t.Errorf("status is %s", a.describe())
	}
	a.event("Warning", "BuildFailed", "app/bad.yaml")
	a.holds("one", "1")
	a.setValue("one", "v", "foreign")
	a.holds("one", "1")
	a.moveSource("main@sha1:fixed")
	a.build(configMap("one", "3"))
	a.ready()
	a.holds("one", "3")
}

func driftRefused(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	a.edit(func(ks *kustomizev1.Kustomization) {
		ks.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "x"}
	})
	a.condition(kube.ConditionStalled, "True", "FeatureGateDisabled", "spec.decryption.serviceAccountName is not served")
	a.settled()
	a.setValue("one", "v", "foreign")
	a.holds("one", "1")
}

func driftTwoOwners(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("shared", "1"), configMap("own", "1"))
	a.ready()
	a.settled()
	b := a.as("taker")
	b.create("taker", nil)
	b.build(configMap("shared", "2"))
	b.ready()
	b.holds("shared", "2")
	told := "ConfigMap/" + a.namespace + "/shared now belongs to Kustomization " + a.namespace + "/taker and is left to it: remove it from one of the two"
	a.event("Warning", "ObjectTakenOver", told)
	b.delete()
	a.holds("shared", "1")
	a.settled()
	if ks := a.get(); !apimeta.IsStatusConditionTrue(ks.Status.Conditions, kube.ConditionReady) {
		t.Errorf("not ready: %s", a.describe())
	}
}

func driftSuspended(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = true })
	a.settled()
	before := a.get().Status
	a.setValue("one", "v", "foreign")
	a.annotate(kube.RequestedAt, "now")
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "2"))
	a.settled()
	a.holds("one", "foreign")
	after := a.get().Status
	if diff := cmp.Diff(before.Conditions, after.Conditions); diff != "" || after.LastAttemptedRevision != before.LastAttemptedRevision {
		t.Errorf("a suspended object was worked on: %s\nconditions (-before +after): %s", a.describe(), diff)
	}
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = false })
	a.build(configMap("one", "2"))
	a.holds("one", "2")
	a.ready()
}

func driftUnmanaged(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	a.setValue("one", "extra", "mine")
	a.setValue("one", "v", "foreign")
	a.holds("one", "1")
	if cm, err := a.configMap("one"); err != nil || cm.Data["extra"] != "mine" {
		t.Errorf("data is %v: %v", cm.Data, err)
	}
}

func driftKubectl(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	cm, err := a.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	before := cm.DeepCopy()
	cm.Data["v"], cm.Data["extra"] = "kubectl's", "kubectl's"
	if err := a.Patch(t.Context(), cm, client.MergeFrom(before), client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
	a.holds("one", "1")
	a.taken("one")
}

func driftRestart(t *testing.T, w *world) {
	const restartedAt = "kubectl.kubernetes.io/restartedAt"
	a := w.newApp(t, nil)
	a.build("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: NS}\n" +
		"spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: one}]}}}\n")
	a.ready()
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "web"}}
	patch := func(manager, body string) {
		t.Helper()
		if err := a.Patch(t.Context(), web, client.RawPatch(types.StrategicMergePatchType, []byte(body)), client.FieldOwner(manager)); err != nil {
			t.Fatal(err)
		}
	}
	patch("kubectl-rollout", `{"spec":{"template":{"metadata":{"annotations":{"`+restartedAt+`":"2026-01-01T00:00:00Z"}}}}}`)
	a.settled()
	patch("somebody", `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"other"}]}}}}`)
	a.until("the image is put back", func() error {
		if err := a.Get(t.Context(), client.ObjectKeyFromObject(web), web); err != nil {
			return err
		}
		if image := web.Spec.Template.Spec.Containers[0].Image; image != "one" {
			return fmt.Errorf("image is %s", image)
		}
		return nil
	})
	a.settled()
	if err := a.Get(t.Context(), client.ObjectKeyFromObject(web), web); err != nil || web.Spec.Template.Annotations[restartedAt] == "" {
		t.Errorf("the restart was undone: %v, %v", web.Spec.Template.Annotations, err)
	}
}

func driftOptOut(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"), configMap("two", "2"))
	a.ready()
	a.control("one", "reconcile", "disabled")
	a.setValue("one", "v", "foreign")
	a.setValue("two", "v", "foreign")
	a.holds("two", "2")
	a.settled()
	a.holds("one", "foreign")
	a.control("one", "reconcile", "enabled")
	a.holds("one", "1")
}

func optedOutFirst(t *testing.T, w *world) {
	for what, end := range map[string]func(*app){
		"opted in": func(a *app) { a.control("one", "reconcile", "enabled") },
		"deleted": func(a *app) {
			cm, err := a.configMap("one")
			if err == nil {
				err = a.Delete(t.Context(), cm)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			a := w.newApp(t, nil)
			a.build(configMap("one", "1"), configMap("two", "2"))
			a.ready()
			a.control("one", "reconcile", "disabled")
			a.settled()
			a.moveSource("main@sha1:2")
			a.build(configMap("two", "2")) // which leaves it to itself
			a.ready()
			a.moveSource("main@sha1:3")
			a.build(configMap("one", "3"), configMap("two", "2"))
			a.ready()
			a.settled()
			a.holds("one", "1")
			end(a)
			a.holds("one", "3")
		})
	}
}

// unfollowed makes an app with a ConfigMap that is opted out and lost its labels, so
// that no watch shows it.
func (w *world) unfollowed(t *testing.T) *app {
	t.Helper()
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"), configMap("two", "2"))
	a.ready()
	a.control("one", "reconcile", "disabled")
	a.settled()
	cm, err := a.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	before := cm.DeepCopy()
	cm.Labels = nil
	if err := a.Patch(t.Context(), cm, client.MergeFrom(before), client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	a.settled()
	return a
}

func unfollowedOptOut(t *testing.T, w *world) {
	a := w.unfollowed(t)
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "2"), configMap("two", "2"))
	a.ready()
	a.holds("one", "1")
	a.control("one", "reconcile", "enabled")
	a.moveSource("main@sha1:3")
	a.build(configMap("one", "3"), configMap("two", "2"))
	a.ready()
	a.holds("one", "3")
}

func unfollowedDeleted(t *testing.T, w *world) {
	for _, replaced := range []bool{false, true} {
		a := w.unfollowed(t)
		cm, err := a.configMap("one")
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Delete(t.Context(), cm); err != nil {
			t.Fatal(err)
		}
		if replaced {
			other := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "one"}}
			if err := a.Create(t.Context(), other, client.FieldOwner("somebody")); err != nil {
				t.Fatal(err)
			}
		}
		a.moveSource("main@sha1:2")
		a.build(configMap("one", "2"), configMap("two", "3"))
		a.ready()
		a.holds("one", "2")
	}
}

func givenBack(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("shared", "1"))
	a.ready()
	b := a.as("rival")
	a.create(b.name, nil)
	b.build(configMap("shared", "2"))
	b.ready()
	a.event("Warning", "ObjectTakenOver", "rival")
	if err := b.Delete(t.Context(), b.get()); err != nil {
		t.Fatal(err)
	}
	a.holds("shared", "1")
}
