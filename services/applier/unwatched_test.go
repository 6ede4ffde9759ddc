package applier_test

import (
	"fmt"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
)

// halfBlind runs an applier that may change ConfigMaps but not watch them, and gives f an
// object that it applied and that somebody edited since.
func (w *world) halfBlind(t *testing.T, f func(*app)) {
	t.Helper()
	w.stop()
	const user = "half-blind"
	rule := func(group, resource string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
	}
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		Rules: []rbacv1.PolicyRule{
			rule("", "configmaps", "get", "create", "patch", "delete"),
			rule("", "events", "*"),
			rule("kustomize.toolkit.fluxcd.io", "*", "*"),
			rule("helm.toolkit.fluxcd.io", "*", "*"),
			rule("source.toolkit.fluxcd.io", "*", "get", "list", "watch"),
		},
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	for _, o := range []client.Object{role, binding} {
		if err := client.IgnoreAlreadyExists(w.Create(t.Context(), o)); err != nil {
			t.Fatal(err)
		}
	}
	stop := w.startAs(user, applier.Settings{})
	defer func() {
		stop()
		w.stop = w.start(applier.Settings{})
	}()
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.Interval.Duration = 2 * time.Second })
	a.build(configMap("one", "1"), configMap("two", "2"))
	a.ready()
	f(a)
}

func unwatched(t *testing.T, w *world) {
	w.halfBlind(t, func(a *app) {
		a.setValue("one", "v", "foreign")
		a.holds("one", "1")
		a.journalHas(events.TypeDriftCorrected)
	})
}

func unwatchedBusy(t *testing.T, w *world) {
	w.halfBlind(t, func(a *app) {
		a.setValue("one", "v", "foreign")
		n := 1
		a.until("the edit is put back while revisions come", func() error {
			n++
			a.moveSource(fmt.Sprintf("main@sha1:%d", n))
			a.build(configMap("one", "1"), configMap("two", "2"))
			a.ready()
			return a.valued("one", "1")
		})
	})
}

func unwatchedBroken(t *testing.T, w *world) {
	w.halfBlind(t, func(a *app) {
		a.moveSource("main@sha1:2")
		a.publish(events.BuildFailed{BuildInput: a.input(a.get()), Reason: "BuildFailed", Message: "broken"})
		a.condition(kube.ConditionReady, "False", "BuildFailed", "broken")
		for range 2 {
			a.setValue("one", "v", "foreign")
			a.holds("one", "1")
		}
	})
}
