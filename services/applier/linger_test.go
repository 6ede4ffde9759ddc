package applier_test

import (
	"fmt"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
)

// finalizer holds a ConfigMap of a test.
const finalizer = "example.com/hold"

func held(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: NS, finalizers: [" + finalizer + "]}\ndata: {v: \"1\"}\n"
}

func lingerCases() []testCase {
	return []testCase{
		{"pruned", "a deletion that was accepted is settled; what holds the object is told", lingerPruned},
		{"deleted", "without WaitForTermination the Kustomization goes at once", lingerDeleted},
		{"awaited", "WaitForTermination waits, tells once what holds it up, and ends with it", lingerAwaited},
		{"timeout", "WaitForTermination waits up to the timeout, then goes on and says so", lingerTimeout},
	}
}

// letGo removes the finalizer of a ConfigMap.
func (a *app) letGo(name string) {
	a.t.Helper()
	cm, err := a.configMap(name)
	if err != nil {
		a.t.Fatal(err)
	}
	before := cm.DeepCopy()
	cm.Finalizers = nil
	if err := a.Patch(a.t.Context(), cm, client.MergeFrom(before)); err != nil {
		a.t.Fatal(err)
	}
	a.absent(name)
}

// gone waits until the Kustomization is gone.
func (a *app) gone() {
	a.t.Helper()
	a.untilWithin(2*patience, "Kustomization is gone", func() error {
		err := a.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: a.name}, &kustomizev1.Kustomization{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there: %w", err)
	})
}

func lingerPruned(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(held("slow"), held("quick"), configMap("stays", "1"))
	a.ready()
	a.moveSource("main@sha1:2")
	a.build(configMap("stays", "1"))
	ks := a.ready()
	if e := ks.Status.Inventory.Entries; len(e) != 1 {
		t.Errorf("inventory is %v", e)
	}
	a.letGo("quick")
	e := a.event("Warning", "Terminating", "ConfigMap/"+a.namespace+"/slow (held by finalizer "+finalizer+")")
	if want := "pruned objects are still terminating after 10s: ConfigMap/" + a.namespace + "/slow (held by finalizer " + finalizer + ")"; e.Message != want {
		t.Errorf("message is %q, want %q", e.Message, want)
	}
	a.ready()
	a.letGo("slow")
}

func lingerDeleted(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(held("slow"))
	a.ready()
	a.delete()
	a.letGo("slow")
}

func awaited(ks *kustomizev1.Kustomization) {
	ks.Spec.DeletionPolicy = kustomizev1.DeletionPolicyWaitForTermination
}

func lingerAwaited(t *testing.T, w *world) {
	a := w.newApp(t, awaited)
	a.build(held("slow"), configMap("other", "1"))
	a.ready()
	if err := a.world.Delete(t.Context(), a.get()); err != nil {
		t.Fatal(err)
	}
	a.absent("other")
	a.event("Warning", "Terminating", "ConfigMap/"+a.namespace+"/slow (held by finalizer "+finalizer+")")
	a.get() // it is still there
	a.letGo("slow")
	a.gone()
	pruned := 0
	for _, e := range a.history() {
		if data, err := events.Decode[events.Pruned](e); err == nil {
			pruned += len(data.Objects)
		}
	}
	if pruned != 2 {
		t.Errorf("%d deletions in the journal, want one for each object", pruned)
	}
}

func lingerTimeout(t *testing.T, w *world) {
	const timeout = 30 * time.Second // the shortest there is
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		awaited(ks)
		ks.Spec.Timeout = &metav1.Duration{Duration: timeout}
	})
	a.build(held("slow"))
	a.ready()
	since := time.Now()
	if err := a.world.Delete(t.Context(), a.get()); err != nil {
		t.Fatal(err)
	}
	a.gone()
	if took := time.Since(since); took < timeout-time.Second {
		t.Errorf("it went after %s", took)
	}
	a.event("Warning", "Terminating", "not waiting any longer than 30s")
	a.letGo("slow")
}
