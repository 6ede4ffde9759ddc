package applier_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
)

// heldNamespace makes a namespace that a finalizer keeps while it is being deleted.
func (a *app) heldNamespace(name string) (release func()) {
	a.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{"example.com/hold"}}}
	if err := errors.Join(a.Create(a.t.Context(), ns), a.Delete(a.t.Context(), ns)); err != nil {
		a.t.Fatal(err)
	}
	return func() {
		a.t.Helper()
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
		if err := a.Patch(a.t.Context(), ns, patch); err != nil && !apierrors.IsNotFound(err) {
			a.t.Fatal(err)
		}
	}
}

func namespaceManifest(name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", name)
}

func mapIn(namespace string) string {
	return strings.ReplaceAll(configMap("one", "1"), "namespace: NS", "namespace: "+namespace)
}

// waitsForStage waits until the app says that it waits for a stage, and returns since when.
func (a *app) waitsForStage(words ...string) metav1.Time {
	a.t.Helper()
	ks := a.condition(kube.ConditionReconciling, metav1.ConditionTrue, "StageNotReady", "Waiting for what revision "+a.revision+" needs first")
	c := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReconciling)
	for _, word := range words {
		if !strings.Contains(c.Message, word) {
			a.t.Errorf("%q is not in: %s", word, c.Message)
		}
	}
	if ready := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReady); ready.Status != metav1.ConditionUnknown {
		a.t.Errorf("Ready is %+v", ready)
	}
	return c.LastTransitionTime
}

// stageWaits: a namespace that is being deleted holds no worker, and the wait ends by
// itself when the namespace is gone and made anew.
func stageWaits(t *testing.T, w *world) {
	w.stop()
	defer func() { w.stop = w.start(applier.Settings{}) }()
	defer w.run("", applier.Config{Single: true, Concurrency: 1})()
	a := w.newApp(t, nil)
	target := a.namespace + "-held"
	release := a.heldNamespace(target)
	defer release()
	a.build(namespaceManifest(target), mapIn(target))
	a.waitsForStage("Namespace/"+target+" status: 'Terminating'", "held by finalizer", "example.com/hold")

	other := w.newApp(t, nil)
	other.build(configMap("other", "1"))
	other.ready()
	if ready := meta.FindStatusCondition(a.get().Status.Conditions, kube.ConditionReady); ready.Status != metav1.ConditionUnknown {
		t.Errorf("the wait ended: %+v", ready)
	}
	release()
	a.ready()
	if err := a.Get(t.Context(), client.ObjectKey{Namespace: target, Name: "one"}, &corev1.ConfigMap{}); err != nil {
		t.Error(err)
	}
}

// stageTimesOut: the wait has the object's timeout, also over a restart, and a retry
// waits again instead of calling the object ready.
func stageTimesOut(t *testing.T, w *world) {
	const shortest = 30 * time.Second // that a Kustomization may have as its timeout
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.Timeout = &metav1.Duration{Duration: shortest} })
	target := a.namespace + "-held"
	release := a.heldNamespace(target)
	defer release()
	a.build(namespaceManifest(target), mapIn(target))
	since := a.waitsForStage()
	w.stop()
	w.stop = w.start(applier.Settings{})
	a.untilWithin(2*shortest, "the wait ends", func() error {
		if c := meta.FindStatusCondition(a.get().Status.Conditions, kube.ConditionReady); c.Status != metav1.ConditionFalse {
			return fmt.Errorf("Ready is %+v", c)
		}
		return nil
	})
	a.event("Warning", "ReconciliationFailed", "stage not ready after 30")
	a.event("Warning", "ReconciliationFailed", "let the deletion end, then it is made anew")
	if took := time.Since(since.Time); took < shortest || took > shortest+5*time.Second {
		t.Errorf("failed %s after the wait began", took)
	}
	if again := a.waitsForStage(); !again.After(since.Time) {
		t.Errorf("waits since %s, want later than %s", again, since)
	}
}

// stageSuperseded: a newer revision does not wait for what an older one needs.
func stageSuperseded(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	target := a.namespace + "-held"
	defer a.heldNamespace(target)()
	a.build(namespaceManifest(target), mapIn(target))
	a.waitsForStage()
	a.moveSource("main@sha1:2")
	a.build(configMap("two", "2"))
	a.ready()
	a.holds("two", "2")
}

// stageRefused: a definition whose names another one has is not served, and no retry
// calls that a success.
func stageRefused(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(a.definition())
	a.ready()
	taken := strings.ReplaceAll(a.definition(), "plural: widgets", "plural: gadgets")
	taken = strings.ReplaceAll(taken, "name: widgets.", "name: gadgets.")
	b := a.as("rival")
	a.create(b.name, nil)
	b.build(taken)
	failed := b.condition(kube.ConditionReady, metav1.ConditionFalse, "ReconciliationFailed", "gadgets."+a.namespace+".example.com status: 'Failed'")
	first := failed.Status.History.Latest().LastReconciled
	b.until("it was tried again", func() error {
		ks := b.get()
		if c := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReady); c.Status == metav1.ConditionTrue {
			b.t.Fatalf("is Ready: %+v", c)
		}
		if latest := ks.Status.History.Latest(); latest.TotalReconciliations < 2 {
			return fmt.Errorf("tried %d times, first at %s", latest.TotalReconciliations, first)
		}
		return nil
	})
}
