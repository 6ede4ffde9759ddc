package applier_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
)

func applyCases() []testCase {
	return []testCase{
		{"stage superseded", "a newer revision does not wait for what an older one needs", stageSuperseded},
		{"stage refused", "a definition whose names are taken never counts as applied", stageRefused},
		{"happy path", "a render reaches the cluster and the status says so as Flux's tools expect", happyPath},
		{"revision only", "an equal render moves revisions and touches no object", revisionOnly},
		{"requested", "a reconcile request is answered also when nothing changed", requested},
		{"suspended", "a suspended object is left alone until it is resumed", suspended},
		{"changes", "only changed objects are written and listed", onlyChanges},
		{"newest wins", "an older build never replaces a newer one", newestWins},
	}
}

func happyPath(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"), configMap("two", "2"))
	ks := a.ready()
	if !controllerutil.ContainsFinalizer(ks, kube.Finalizer) {
		t.Error("no finalizer")
	}
	if meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReconciling) != nil {
		t.Error("Reconciling is still set")
	}
	got := []any{
		ks.Status.ObservedGeneration, ks.Status.LastAppliedRevision, ks.Status.LastAttemptedRevision,
		ks.Status.LastAppliedOriginRevision, ks.Status.Inventory.Entries,
	}
	want := []any{
		ks.Generation, a.revision, a.revision, "origin-" + a.revision,
		[]kustomizev1.ResourceRef{{ID: a.namespace + "_one__ConfigMap", Version: "v1"}, {ID: a.namespace + "_two__ConfigMap", Version: "v1"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if h := ks.Status.History; len(h) != 1 || h[0].LastReconciledStatus != "ReconciliationSucceeded" || h[0].TotalReconciliations != 1 ||
		h[0].Metadata["revision"] != a.revision || h[0].Metadata["originRevision"] != "origin-"+a.revision || h[0].Digest == "" {
		t.Errorf("history is %+v", h)
	}
	cm, err := a.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	if cm.Labels["kustomize.toolkit.fluxcd.io/name"] != a.name || cm.Labels["kustomize.toolkit.fluxcd.io/namespace"] != a.namespace {
		t.Errorf("labels are %v", cm.Labels)
	}
	a.until("journal", func() error {
		want := []string{events.TypeApplyProgressing, events.TypeApplySucceeded}
		if got := a.journal(); !slices.Equal(got, want) {
			return fmt.Errorf("journal is %v", got)
		}
		return nil
	})
	a.event("Normal", "ReconciliationSucceeded", "Reconciliation finished in")
	e := a.event("Normal", "Progressing", "ConfigMap/"+a.namespace+"/one created")
	if e.Annotations["kustomize.toolkit.fluxcd.io/revision"] != a.revision {
		t.Errorf("event annotations are %v", e.Annotations)
	}
}

func revisionOnly(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	before, err := a.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "1"))
	ks := a.ready()
	if ks.Status.LastAppliedRevision != a.revision || ks.Status.LastAppliedOriginRevision != "origin-"+a.revision {
		t.Errorf("status is %+v", ks.Status)
	}
	if h := ks.Status.History; len(h) != 1 || h[0].TotalReconciliations != 2 || h[0].Metadata["revision"] != a.revision {
		t.Errorf("history is %+v", h)
	}
	after, err := a.configMap("one")
	if err != nil || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("ConfigMap was written: %v", err)
	}
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Annotations = map[string]string{kube.RequestedAt: "now"} })
	a.until("the end of what was requested, which is told after all before it", func() error {
		if got := a.messages("Normal", "ReconciliationSucceeded"); len(got) != 2 {
			return fmt.Errorf("told are %q", got)
		}
		return nil
	})
	if changes := a.messages("Normal", "Progressing"); len(changes) != 1 {
		t.Errorf("changes were told that there are not: %q", changes)
	}
}

func requested(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	const at = "2026-01-01T00:00:00Z"
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Annotations = map[string]string{kube.RequestedAt: at} })
	a.until("request is handled", func() error {
		if got := a.get().Status.LastHandledReconcileAt; got != at {
			return fmt.Errorf("lastHandledReconcileAt is %q", got)
		}
		return nil
	})
	a.ready()
}

func suspended(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = true })
	a.build(configMap("one", "1"))
	a.settled()
	if _, err := a.configMap("one"); err == nil {
		t.Error("a suspended object was applied")
	}
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = false })
	a.build(configMap("one", "1"))
	a.holds("one", "1")
	a.ready()
}

func onlyChanges(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"), configMap("two", "2"))
	a.ready()
	before, err := a.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "1"), configMap("two", "3"))
	a.ready()
	a.holds("two", "3")
	if after, err := a.configMap("one"); err != nil || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("unchanged ConfigMap was written: %v", err)
	}
	a.until("journal lists the change", func() error {
		last := a.history()[len(a.history())-1]
		data, err := events.Decode[events.ApplySucceeded](last)
		if err != nil {
			return err
		}
		want := []events.Change{{Object: events.ObjectRef{APIVersion: "v1", Kind: "ConfigMap", Namespace: a.namespace, Name: "two"}, Action: "configured"}}
		if diff := cmp.Diff(want, data.Changes); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

func newestWins(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	old := a.seal(a.keys, configMap("one", "old"))
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "new"))
	a.ready()
	a.publish(old) // as a builder that was paused would
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Annotations = map[string]string{kube.RequestedAt: "again"} })
	a.settled()
	a.holds("one", "new")
}

// event waits for a Kubernetes Event about the app.
func (a *app) event(kind, reason, message string) corev1.Event {
	a.t.Helper()
	var found corev1.Event
	a.until(fmt.Sprintf("event %s %s %q", kind, reason, message), func() error {
		list := &corev1.EventList{}
		if err := a.List(a.t.Context(), list, client.InNamespace(a.namespace)); err != nil {
			return err
		}
		var seen []string
		for _, e := range list.Items {
			if e.InvolvedObject.Kind != "Kustomization" || e.InvolvedObject.Name != a.name {
				continue
			}
			if e.Type == kind && e.Reason == reason && strings.Contains(e.Message, message) {
				found = e
				return nil
			}
			seen = append(seen, e.Type+" "+e.Reason+" "+e.Message)
		}
		return fmt.Errorf("events are %q", seen)
	})
	return found
}
