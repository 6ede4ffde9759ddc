package applier_test

import (
	"fmt"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
)

// dead plays an applier that claimed an attempt in the journal, made objects, and died
// before it wrote the status. It returns the claim.
func (a *app) dead(revision, render string, made ...client.Object) events.ApplyProgressing {
	a.t.Helper()
	claim := events.ApplyProgressing{Applied: events.Applied{
		Cluster: clusterName, Object: a.key(), UID: string(a.get().UID), Revision: revision, RenderID: render,
	}}
	for _, o := range made {
		o.SetNamespace(a.namespace)
		o.SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/name": a.name, "kustomize.toolkit.fluxcd.io/namespace": a.namespace})
		kind := "ConfigMap"
		if _, ok := o.(*corev1.ServiceAccount); ok {
			kind = "ServiceAccount"
		}
		if err := a.Create(a.t.Context(), o); err != nil {
			a.t.Fatal(err)
		}
		claim.Objects = append(claim.Objects, events.ObjectRef{APIVersion: "v1", Kind: kind, Namespace: a.namespace, Name: o.GetName()})
	}
	a.claims(claim)
	return claim
}

func (a *app) claims(claim events.ApplyProgressing) {
	a.t.Helper()
	if err := a.tryAppend(events.ApplySubject(clusterName, a.key()), claim); err != nil {
		a.t.Fatal(err)
	}
}

func called(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

// killedInstalling plays appliers that made ConfigMap one in an attempt that they never
// ended. Whatever follows, it does not stay when nothing asks for it.
func killedInstalling(t *testing.T, w *world) {
	good := func(a *app) events.BuildRendered {
		build := a.build(configMap("another", "1"))
		a.ready()
		return build
	}
	restart := func() { w.stop = w.start(applier.Settings{}) }
	one := func() client.Object { return &corev1.ConfigMap{ObjectMeta: called("one")} }
	for _, c := range []struct {
		reason string
		edit   func(*kustomizev1.Kustomization)
		// before is played with an applier, then one dies, then play is.
		before func(a *app) events.BuildRendered
		play   func(a *app, before events.BuildRendered)
	}{
		{"the next render prunes it", nil, nil, func(a *app, _ events.BuildRendered) {
			a.dead(a.revision, "lost", one())
			restart()
			good(a)
		}},
		{"so does the render that was there before", nil, good, func(a *app, _ events.BuildRendered) {
			a.dead(a.revision, "lost", one())
			restart()
		}},
		{"so does that render at another revision", nil, good, func(a *app, _ events.BuildRendered) {
			a.dead(a.revision, "lost", one())
			restart()
			a.moveSource("main@sha1:2")
			good(a)
		}},
		{"so does it when the next applier died, too", nil, good, func(a *app, build events.BuildRendered) {
			claim := a.dead(a.revision, "lost", one())
			claim.RenderID = build.RenderID
			a.claims(claim)
			restart()
		}},
		{"drift that is put back while a build is awaited does not hide it", nil, good, func(a *app, _ events.BuildRendered) {
			a.dead(a.revision, "lost", one())
			a.setValue("another", "v", "foreign")
			a.moveSource("main@sha1:2")
			restart()
			a.settled()
			a.build(configMap("another", "2"))
			a.holds("another", "2")
		}},
		{"a failed build keeps it in the inventory", nil, nil, func(a *app, _ events.BuildRendered) {
			a.dead(a.revision, "lost", one())
			restart()
			a.publish(events.BuildFailed{BuildInput: a.input(a.get()), Reason: "BuildFailed", Message: "broken"})
			ks := a.condition(kube.ConditionReady, "False", "BuildFailed", "broken")
			if ks.Status.Inventory == nil || len(ks.Status.Inventory.Entries) != 1 {
				a.t.Errorf("the inventory is %+v", ks.Status.Inventory)
			}
			a.delete()
		}},
		{"it goes with the Kustomization", nil, nil, func(a *app, _ events.BuildRendered) {
			a.dead(a.revision, "lost", one())
			restart()
			a.delete()
		}},
		{"which waits for it, and for what the wait needed", func(ks *kustomizev1.Kustomization) {
			ks.Spec.DeletionPolicy = kustomizev1.DeletionPolicyWaitForTermination
		}, nil, func(a *app, _ events.BuildRendered) {
			held := one()
			held.SetFinalizers([]string{"example.com/hold"})
			a.dead(a.revision, "lost", held, &corev1.ServiceAccount{ObjectMeta: called("rights")})
			if err := a.world.Delete(a.t.Context(), a.get()); err != nil {
				a.t.Fatal(err)
			}
			restart()
			a.until("deletion of what is held", func() error {
				cm, err := a.configMap("one")
				if err == nil && cm.DeletionTimestamp.IsZero() {
					err = fmt.Errorf("%s is not being deleted", cm.Name)
				}
				return err
			})
			a.settled()
			a.letGo("one")
			a.gone()
			err := a.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "rights"}, &corev1.ServiceAccount{})
			if !apierrors.IsNotFound(err) {
				a.t.Errorf("the service account is left behind: %v", err)
			}
		}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			a := w.newApp(t, c.edit)
			a.until("finalizer", func() error {
				if len(a.get().Finalizers) == 0 {
					return fmt.Errorf("there is none")
				}
				return nil
			})
			var build events.BuildRendered
			if c.before != nil {
				build = c.before(a)
			}
			a.settled()
			w.stop()
			c.play(a, build)
			a.absent("one")
		})
	}
}
