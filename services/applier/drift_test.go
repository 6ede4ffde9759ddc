package applier_test

import (
	"fmt"
	"slices"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
)

func driftCases() []testCase {
	return []testCase{
		{"edit", "a foreign edit is put back and reported, the status stays", driftEdit},
		{"deleted", "a deleted object is made again", driftDeleted},
		{"broken build", "a broken newer build keeps the last good version, drift included", driftBroken},
		{"refused spec", "a field that is not served holds what runs, drift included", driftRefused},
		{"two owners", "an object that another Kustomization took and pruned comes back", driftTwoOwners},
		{"suspended", "a suspended object may be edited", driftSuspended},
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
	a.condition(kube.ConditionStalled, "True", "FeatureGateDisabled", "ObjectLevelWorkloadIdentity")
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
	a.event("Warning", "ObjectTakenOver", "ConfigMap/"+a.namespace+"/shared")
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
	a.setValue("one", "v", "foreign")
	a.settled()
	a.holds("one", "foreign")
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = false })
	a.build(configMap("one", "1"))
	a.holds("one", "1")
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
