package applier_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
)

// fixedSecret is a manifest of a Secret that cannot be changed.
func fixedSecret(value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: fixed, namespace: NS}\nimmutable: true\nstringData: {v: %q}\n", value)
}

func (a *app) fixed() *corev1.Secret {
	a.t.Helper()
	s := &corev1.Secret{}
	if err := a.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "fixed"}, s); err != nil {
		a.t.Fatal(err)
	}
	return s
}

// heldSecret applies a Secret that cannot be changed and gives it a finalizer, which nobody
// removes but release. The next render has another value for it.
func (a *app) heldSecret() (release func()) {
	a.t.Helper()
	a.build(fixedSecret("1"))
	a.ready()
	finalizers := func(list string) {
		a.t.Helper()
		s := a.fixed()
		if err := a.Patch(a.t.Context(), s, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":`+list+`}}`))); err != nil {
			a.t.Fatal(err)
		}
	}
	finalizers(`["example.com/hold"]`)
	a.moveSource("main@sha1:2")
	return func() { finalizers("null") }
}

func forced(ks *kustomizev1.Kustomization) { ks.Spec.Force = true }

// recreateWaits: an object that is made anew and that a finalizer keeps holds no worker. The
// wait outlives the applier, and ends by itself when the object is gone.
func recreateWaits(t *testing.T, w *world) {
	w.stop()
	defer func() { w.stop = w.start(applier.Settings{}) }()
	start := func() (stop func()) { return w.run("", applier.Config{Single: true, Concurrency: 1}) }
	stop := start()
	defer func() { stop() }()
	a, other := w.newApp(t, forced), w.newApp(t, nil)
	release := a.heldSecret()
	old := a.fixed()
	a.build(fixedSecret("2"), configMap("beside", "1"))
	a.until("the old object is deleted", func() error {
		if a.fixed().DeletionTimestamp == nil {
			return errors.New("it is not")
		}
		return nil
	})
	began := time.Now()
	other.build(configMap("other", "1"))
	other.ready()
	within(t, "another object", began)
	held := "Secret/" + a.namespace + "/fixed"
	since := a.waitsForStage(held+" status: 'Terminating'", held+": it is being deleted, held by finalizer example.com/hold")
	a.holds("beside", "1")

	stop()
	told := len(a.history())
	stop = start()
	other.moveSource("main@sha1:2")
	other.build(configMap("other", "2"))
	other.ready()
	a.until("the wait is gone on with", func() error {
		if len(a.history()) == told {
			return errors.New("nobody looked at it")
		}
		return nil
	})
	a.settled()
	if again := a.waitsForStage(); !again.Equal(&since) {
		t.Errorf("waits since %s, want still since %s", again, since)
	}
	sent := a.sentDuring(5 * time.Second)
	if sent["delete secrets"]+sent["patch secrets"] > 0 {
		t.Errorf("while it waits it sends %v", sent)
	}

	release()
	began = time.Now()
	a.ready()
	within(t, "what was made anew", began)
	if s := a.fixed(); s.UID == old.UID || string(s.Data["v"]) != "2" {
		t.Errorf("the Secret holds %q and is the old one: %v", s.Data["v"], s.UID == old.UID)
	}
}

// recreateTimesOut: an object that does not go is a failure at the timeout that names it and what
// holds it, and is made anew all the same when it goes later.
func recreateTimesOut(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		forced(ks)
		ks.Spec.Timeout = &metav1.Duration{Duration: 30 * time.Second}
		ks.Spec.RetryInterval = &metav1.Duration{Duration: time.Hour}
	})
	release := a.heldSecret()
	a.build(fixedSecret("2"))
	a.waitsForStage()
	a.untilWithin(time.Minute, "the wait ends", func() error {
		if c := meta.FindStatusCondition(a.get().Status.Conditions, kube.ConditionReady); c.Status != metav1.ConditionFalse {
			return fmt.Errorf("Ready is %+v", c)
		}
		return nil
	})
	held := "Secret/" + a.namespace + "/fixed"
	a.condition(kube.ConditionReady, metav1.ConditionFalse, "ReconciliationFailed",
		"timeout waiting for: ["+held+" status: 'Terminating']: "+held+": it is being deleted, held by finalizer example.com/hold")
	release()
	a.ready()
	if got := string(a.fixed().Data["v"]); got != "2" {
		t.Errorf("the Secret holds %q", got)
	}
}

// recreateSuperseded: a newer revision does not wait for what an older one makes anew.
func recreateSuperseded(t *testing.T, w *world) {
	a := w.newApp(t, forced)
	release := a.heldSecret()
	defer release()
	a.build(fixedSecret("2"))
	a.waitsForStage()
	a.moveSource("main@sha1:3")
	a.build(configMap("two", "2"))
	a.ready()
	a.holds("two", "2")
}

// recreateHolds: while an object does not go that is made anew, drift of what the attempt
// applied beside it is put back.
func recreateHolds(t *testing.T, w *world) {
	a := w.newApp(t, forced)
	release := a.heldSecret()
	a.build(fixedSecret("2"), configMap("beside", "1"))
	since := a.waitsForStage()
	a.holds("beside", "1")
	a.settled()
	a.setValue("beside", "v", "foreign")
	a.holds("beside", "1")
	a.journalHas(events.TypeDriftDetected, events.TypeDriftCorrected)
	beside, err := a.configMap("beside")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), beside); err != nil {
		t.Fatal(err)
	}
	a.holds("beside", "1")
	if again := a.waitsForStage(); !again.Equal(&since) {
		t.Errorf("waits since %s, want still since %s", again, since)
	}
	if s := a.fixed(); s.DeletionTimestamp == nil || string(s.Data["v"]) != "1" {
		t.Errorf("what is waited for was written: %v", s.ObjectMeta)
	}
	release()
	a.ready()
}
