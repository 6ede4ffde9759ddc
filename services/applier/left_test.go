package applier_test

import (
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/services/applier"
)

func leftAloneCases() []testCase {
	return []testCase{
		{"left, restart", "the end of an opt-out is noticed after a restart", leftRestart},
		{"left, once", "an object that is made once, and existed before, is made again when it is deleted", leftOnce},
	}
}

const reconcileControl = "kustomize.toolkit.fluxcd.io/reconcile"

// existing makes ConfigMap one with value "old" before the app does, as if it had.
func (a *app) existing(labels, annotations map[string]string) {
	a.t.Helper()
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "one", Labels: labels, Annotations: annotations},
		Data:       map[string]string{"v": "old"},
	}
	if err := a.Create(a.t.Context(), cm); err != nil {
		a.t.Fatal(err)
	}
}

// ours are the labels of what the app applies.
func (a *app) ours() map[string]string {
	return map[string]string{"kustomize.toolkit.fluxcd.io/name": a.name, "kustomize.toolkit.fluxcd.io/namespace": a.namespace}
}

func leftRestart(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.existing(a.ours(), map[string]string{reconcileControl: "disabled"})
	a.build(configMap("one", "1"), configMap("two", "2"))
	a.ready()
	a.settled()
	a.holds("one", "old")
	w.stop()
	w.stop = w.start(applier.Settings{})
	canary := w.newApp(t, nil) // its pass ends after those of the start
	canary.build(configMap("one", "1"))
	canary.ready()
	a.settled()
	a.holds("one", "old")
	a.control("one", "reconcile", "enabled")
	a.holds("one", "1")
}

func leftOnce(t *testing.T, w *world) {
	once := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: NS, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}\ndata: {v: \"1\"}\n"
	ignoring := func(ks *kustomizev1.Kustomization) {
		ks.Spec.Ignore = []kustomizev1.IgnoreRule{{Paths: []string{""}}}
	}
	for _, c := range []struct {
		why      string
		manifest string
		edit     func(*kustomizev1.Kustomization)
	}{
		{"the manifest says so", once, nil},
		{"a rule leaves it whole", configMap("one", "1"), ignoring},
	} {
		for _, restarted := range []bool{false, true} {
			a := w.newApp(t, c.edit)
			a.existing(a.ours(), nil)
			a.build(c.manifest, configMap("two", "2"))
			a.ready()
			a.settled()
			a.holds("one", "old")
			cm, err := a.configMap("one")
			if err != nil {
				t.Fatal(err)
			}
			if restarted {
				w.stop()
			}
			if err := a.Delete(t.Context(), cm); err != nil {
				t.Fatal(err)
			}
			if restarted {
				w.stop = w.start(applier.Settings{})
			}
			t.Logf("%s, deleted while the applier is down %v", c.why, restarted)
			a.holds("one", "1")
		}
	}
}
