package applier_test

import (
	"fmt"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
)

const (
	annotationBudget   = "sluice.dev/prune-budget"
	annotationApproval = "sluice.dev/approve-prune"
)

func budgetCases() []testCase {
	return []testCase{
		{"within", "a render that deletes up to the budget is applied", budgetWithin},
		{"over", "nothing of a render over the budget is applied, until exactly its plan is approved", budgetOver},
		{"another plan", "an approval is of one plan: not of another, nor of the same objects made anew", budgetAnother},
		{"withdrawn", "a render that deletes less needs no approval any more", budgetWithdrawn},
		{"drift", "what runs is held at the last good version meanwhile", budgetDrift},
		{"opted out", "objects that would not be deleted do not count", budgetOptedOut},
		{"raised", "a budget that is raised lets the render through", budgetRaised},
		{"malformed", "an annotation that cannot be read stalls by name", budgetMalformed},
		{"deletion", "deleting the Kustomization itself is not bounded", budgetDeletion},
	}
}

// budgeted is an app of four ConfigMaps with a budget.
func (w *world) budgeted(t *testing.T, budget string) *app {
	t.Helper()
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Annotations = map[string]string{annotationBudget: budget} })
	a.build(configMap("a", "1"), configMap("b", "1"), configMap("c", "1"), configMap("d", "1"))
	a.ready()
	return a
}

func (a *app) annotate(key, value string) {
	a.t.Helper()
	a.edit(func(ks *kustomizev1.Kustomization) {
		if ks.Annotations == nil {
			ks.Annotations = map[string]string{}
		}
		ks.Annotations[key] = value
	})
}

// held waits until a render is held back by the budget for deleting so many
// objects, and returns the digest of its plan.
func (a *app) held(deletions int) string {
	a.t.Helper()
	ks := a.condition(kube.ConditionReady, "False", "PruneBudgetExceeded", fmt.Sprintf("delete %d of 4", deletions))
	message := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReady).Message
	_, rest, ok := strings.Cut(message, fmt.Sprintf("kubectl -n %s annotate --overwrite kustomizations.kustomize.toolkit.fluxcd.io %s %s=", a.namespace, a.name, annotationApproval))
	digest, _, _ := strings.Cut(rest, " ")
	if !ok || !strings.HasPrefix(digest, "sha256:") {
		a.t.Fatalf("no command in %q", message)
	}
	return digest
}

func budgetWithin(t *testing.T, w *world) {
	a := w.budgeted(t, "50%")
	a.moveSource("main@sha1:2")
	a.build(configMap("a", "2"), configMap("b", "2"))
	a.ready()
	a.absent("c")
}

func budgetOver(t *testing.T, w *world) {
	a := w.budgeted(t, "1")
	before := a.get().Status
	a.moveSource("main@sha1:2")
	a.build(configMap("a", "2"), configMap("b", "2"))
	digest := a.held(2)
	a.settled()
	a.holds("a", "1")
	a.holds("c", "1")
	now := a.get().Status
	if now.LastAppliedRevision != before.LastAppliedRevision || len(now.History) != 1 || len(now.Inventory.Entries) != 4 {
		t.Errorf("status is %+v", now)
	}
	if now.LastAttemptedRevision != a.revision || now.ObservedGeneration != a.get().Generation {
		t.Errorf("attempted %q, observed %d", now.LastAttemptedRevision, now.ObservedGeneration)
	}
	for _, object := range []string{"c", "d"} {
		a.event("Warning", "PruneBudgetExceeded", "ConfigMap/"+a.namespace+"/"+object)
	}
	for n := range 3 {
		a.annotate(kube.RequestedAt, fmt.Sprint(n))
		a.until("request is handled", func() error {
			if got := a.get().Status.LastHandledReconcileAt; got != fmt.Sprint(n) {
				return fmt.Errorf("handled %q", got)
			}
			return nil
		})
	}
	a.moveSource("main@sha1:3") // other commits do not change the plan
	a.build(configMap("a", "2"), configMap("b", "2"))
	a.until("revision is seen", func() error {
		if got := a.get().Status.LastAttemptedRevision; got != a.revision {
			return fmt.Errorf("attempted %q", got)
		}
		return nil
	})
	a.settled()
	if n := a.told("PruneBudgetExceeded"); n != 1 {
		t.Errorf("told %d times", n)
	}
	a.annotate(annotationApproval, "sha256:0000")
	a.settled()
	a.holds("c", "1")
	a.annotate(annotationApproval, digest)
	a.ready()
	a.holds("a", "2")
	a.absent("c")
	a.absent("d")
}

// told counts the Kubernetes Events and the entries of the journal about a failure.
func (a *app) told(reason string) int {
	a.t.Helper()
	journal := 0
	for _, e := range a.history() {
		if data, err := events.Decode[events.ApplyFailed](e); err == nil && data.Reason == reason {
			journal++
		}
	}
	list := &corev1.EventList{}
	if err := a.List(a.t.Context(), list, client.InNamespace(a.namespace)); err != nil {
		a.t.Fatal(err)
	}
	recorded := 0
	for _, e := range list.Items {
		if e.Reason == reason {
			recorded += int(e.Count)
		}
	}
	if recorded != journal {
		a.t.Errorf("%d Events, %d entries of the journal", recorded, journal)
	}
	return journal
}

func budgetAnother(t *testing.T, w *world) {
	a := w.budgeted(t, "1")
	a.moveSource("main@sha1:2")
	a.build(configMap("a", "1"), configMap("b", "1"))
	first := a.held(2)
	a.moveSource("main@sha1:3")
	a.build(configMap("a", "1"))
	second := a.held(3)
	a.annotate(annotationApproval, first)
	a.settled()
	a.holds("b", "1")
	a.annotate(annotationApproval, second)
	a.ready()
	a.absent("b")
	a.moveSource("main@sha1:4")
	a.build(configMap("a", "1"), configMap("b", "1"), configMap("c", "1"), configMap("d", "1"))
	a.ready()
	a.moveSource("main@sha1:5")
	a.build(configMap("a", "1"))
	if third := a.held(3); third == second {
		t.Error("objects made anew have the digest of those that were deleted")
	}
	a.holds("b", "1")
}

func budgetWithdrawn(t *testing.T, w *world) {
	a := w.budgeted(t, "0")
	a.moveSource("main@sha1:2")
	a.build()
	a.held(4)
	a.moveSource("main@sha1:3")
	a.build(configMap("a", "3"), configMap("b", "1"), configMap("c", "1"), configMap("d", "1"))
	a.ready()
	a.holds("a", "3")
}

func budgetDrift(t *testing.T, w *world) {
	a := w.budgeted(t, "0")
	a.moveSource("main@sha1:2")
	a.build(configMap("a", "2"))
	a.held(3)
	a.setValue("a", "v", "foreign")
	a.holds("a", "1")
	a.setValue("d", "v", "foreign")
	a.holds("d", "1")
	a.held(3)
}

func budgetOptedOut(t *testing.T, w *world) {
	a := w.budgeted(t, "1")
	kept, err := a.configMap("d")
	if err != nil {
		t.Fatal(err)
	}
	before := kept.DeepCopy()
	kept.Annotations = map[string]string{"kustomize.toolkit.fluxcd.io/prune": "disabled"}
	if err := a.Patch(t.Context(), kept, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	a.moveSource("main@sha1:2")
	a.build(configMap("a", "1"), configMap("b", "1"))
	a.ready()
	a.absent("c")
	a.holds("d", "1")
}

func budgetRaised(t *testing.T, w *world) {
	a := w.budgeted(t, "1")
	a.moveSource("main@sha1:2")
	a.build(configMap("a", "2"))
	a.held(3)
	a.annotate(annotationBudget, "75%")
	a.ready()
	a.absent("d")
}

func budgetMalformed(t *testing.T, w *world) {
	a := w.budgeted(t, "1")
	a.annotate(annotationBudget, "lots")
	a.condition(kube.ConditionStalled, "True", "InvalidPruneBudget", annotationBudget+` is "lots"`)
	a.setValue("a", "v", "foreign")
	a.holds("a", "1")
	a.annotate(annotationBudget, "1")
	a.ready()
}

func budgetDeletion(t *testing.T, w *world) {
	a := w.budgeted(t, "0")
	a.delete()
	a.absent("a")
}
