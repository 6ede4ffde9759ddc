package applier_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
)

func waitCases() []testCase {
	return []testCase{
		{"healthy", "wait ends when everything is ready", waitHealthy},
		{"timeout", "a wait that takes too long fails and is made again", waitTimeout},
		{"superseded", "a newer revision does not wait for an older one", waitSuperseded},
		{"health checks", "listed objects are awaited without wait", waitListed},
		{"skipped", "objects that opt out are not awaited", waitSkipped},
		{"spec change", "a change of the object ends its wait", waitChanged},
		{"health events", "a passed health check is told before the end of the pass, when it is news", waitEvents},
		{"removed", "without checks there is no health", waitRemoved},
		{"blind", "a wait ends at its deadline though nobody may look at what it waits for", waitBlind},
	}
}

// deployment is a manifest of a Deployment. With a node selector that no node has
// it never becomes ready.
func deployment(name string, ready bool) string {
	selector := "{}"
	if !ready {
		selector = "{nowhere: \"true\"}"
	}
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: NS}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      nodeSelector: %[2]s
      containers: [{name: main, image: example.com/none}]
`, name, selector)
}

func waiting(ks *kustomizev1.Kustomization) {
	ks.Spec.Wait = true
	ks.Spec.Timeout = &metav1.Duration{Duration: 30 * time.Second}
}

func waitHealthy(t *testing.T, w *world) {
	a := w.newApp(t, waiting)
	a.build(deployment("web", true), configMap("one", "1"))
	ks := a.ready()
	a.condition(kube.ConditionHealthy, "True", "Succeeded", "Health check passed in")
	if ks.Status.ObservedGeneration != ks.Generation || ks.Status.History[0].LastReconciledStatus != "ReconciliationSucceeded" {
		t.Errorf("status is %s", a.describe())
	}
	a.journalHas(events.TypeHealth, events.TypeApplySucceeded)
	d := &appsv1.Deployment{}
	if err := a.Get(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "web"}, d); err != nil || d.Status.ReadyReplicas != 1 {
		t.Errorf("Ready with %d ready replicas: %v", d.Status.ReadyReplicas, err)
	}
}

func waitTimeout(t *testing.T, w *world) {
	a := w.newApp(t, waiting)
	a.build(deployment("stuck", false))
	a.condition(kube.ConditionReady, "Unknown", "Progressing", "Reconciliation in progress")
	const running = "Running health checks for revision main@sha1:1 with a timeout of 30s"
	ks := a.condition(kube.ConditionHealthy, "Unknown", "Progressing", running)
	a.condition(kube.ConditionReconciling, "True", "Progressing", running)
	if len(ks.Status.Inventory.Entries) != 1 || ks.Status.ObservedGeneration == ks.Generation {
		t.Errorf("status is %s", a.describe())
	}
	a.untilWithin(50*time.Second, "HealthCheckFailed", func() error {
		for _, h := range a.get().Status.History {
			if h.LastReconciledStatus == "HealthCheckFailed" {
				return nil
			}
		}
		return fmt.Errorf("not yet")
	})
	e := a.event("Warning", "HealthCheckFailed", "timeout waiting for: [Deployment/"+a.namespace+"/stuck status: 'InProgress']")
	if !strings.HasPrefix(e.Message, "health check failed after 30") {
		t.Errorf("the event says %q", e.Message)
	}
	if ks := a.get(); ks.Status.ObservedGeneration == ks.Generation || ks.Status.LastAppliedRevision != "" {
		t.Errorf("status is %s", a.describe())
	}
	a.moveSource("main@sha1:2")
	a.build(deployment("stuck", true))
	a.ready()
}

// waitBlind takes the rights away that a wait looks with.
func waitBlind(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		asAccount(ks)
		waiting(ks)
	})
	grantIn(t, w.Client, a.namespace, rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"*"}})
	a.build(deployment("stuck", false))
	a.condition(kube.ConditionHealthy, "Unknown", "Progressing", "Running health checks for revision "+a.revision)
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "tenant"}}
	if err := w.Delete(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	a.untilWithin(40*time.Second, "HealthCheckFailed", func() error {
		for _, h := range a.get().Status.History {
			if h.LastReconciledStatus == "HealthCheckFailed" {
				return nil
			}
		}
		return errors.New("not yet")
	})
	a.event("Warning", "HealthCheckFailed", `cannot get resource "deployments"`)
}

func waitSuperseded(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		waiting(ks)
		ks.Spec.Timeout = &metav1.Duration{Duration: 10 * time.Minute}
	})
	a.build(deployment("web", false))
	a.condition(kube.ConditionHealthy, "Unknown", "Progressing", "Running health checks")
	a.moveSource("main@sha1:2")
	a.build(deployment("web", true))
	a.ready()
	a.event("Normal", "HealthCheckCanceled", "New reconciliation triggered by GitRepository/"+a.namespace+"/repo")
}

func waitChanged(t *testing.T, w *world) {
	a := w.newApp(t, waiting)
	a.build(deployment("web", false))
	a.condition(kube.ConditionHealthy, "Unknown", "Progressing", "Running health checks")
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Wait = false })
	a.build(deployment("web", false))
	a.ready()
	a.event("Normal", "HealthCheckCanceled", "New reconciliation triggered by Kustomization/"+a.namespace+"/app")
}

func waitEvents(t *testing.T, w *world) {
	a := w.newApp(t, waiting)
	told := func() (passed, finished int) {
		for _, m := range a.messages("Normal", "") {
			switch {
			case strings.HasPrefix(m, "Health check passed in "):
				passed++
			case strings.HasPrefix(m, "Reconciliation finished in "):
				finished++
			}
		}
		return passed, finished
	}
	expect := func(what string, passed, finished int) {
		a.until(what, func() error {
			if p, f := told(); p != passed || f != finished {
				return fmt.Errorf("passed %d times, finished %d times", p, f)
			}
			return nil
		})
	}
	a.build(configMap("one", "1"))
	a.ready()
	expect("the first is news", 1, 1)
	if all := a.messages("Normal", ""); !strings.HasPrefix(all[len(all)-1], "Reconciliation finished in ") { // their names have the time
		t.Errorf("the end of the pass is not told last: %q", all)
	}
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Annotations = map[string]string{kube.RequestedAt: "now"} })
	expect("the same again is no news", 1, 2)
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "2"))
	a.ready()
	expect("a new revision that changed something is news", 2, 3)
	a.moveSource("main@sha1:3")
	a.build(configMap("one", "2"), deployment("web", false))
	a.condition(kube.ConditionHealthy, "Unknown", "Progressing", "Running health checks")
	a.moveSource("main@sha1:4")
	a.build(configMap("one", "2"))
	a.ready()
	expect("getting healthy is news", 3, 4)
}

func waitRemoved(t *testing.T, w *world) {
	a := w.newApp(t, waiting)
	a.build(configMap("one", "1"))
	a.condition(kube.ConditionHealthy, "True", "Succeeded", "Health check passed in")
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Wait = false })
	a.build(configMap("one", "2"))
	a.holds("one", "2")
	ks := a.ready()
	if c := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionHealthy); c != nil {
		t.Errorf("Healthy is %+v", c)
	}
}

func waitListed(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.HealthChecks = []fluxmeta.NamespacedObjectKindReference{{Kind: "Deployment", Name: "web", Namespace: ks.Namespace}}
	})
	a.build(deployment("web", true), deployment("stuck", false))
	a.ready()
	a.condition(kube.ConditionHealthy, "True", "Succeeded", "Health check passed in")
}

func waitSkipped(t *testing.T, w *world) {
	a := w.newApp(t, waiting)
	manifests := []string{configMap("one", "1")}
	for name, control := range map[string]string{"ignored": "ssa: Ignore", "disabled": "reconcile: disabled"} {
		manifests = append(manifests, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: "+name+", namespace: NS, annotations: {kustomize.toolkit.fluxcd.io/"+control+"}}\n")
	}
	a.build(manifests...)
	ks := a.ready()
	if len(ks.Status.Inventory.Entries) != 3 {
		t.Errorf("inventory is %v", ks.Status.Inventory.Entries)
	}
}

func dependCases() []testCase {
	return []testCase{
		{"chain", "a dependent waits for the revision of the shared source", dependChain},
		{"missing", "a missing dependency is named, and waited for", dependMissing},
		{"cycle", "objects that wait for each other are told so", dependCycle},
		{"cycle deleted", "a cycle ends with one of its objects", dependCycleDeleted},
		{"moved", "a dependency that did not change at a revision wakes its dependents", dependMoved},
		{"other source", "a dependency on another source is not held to a revision", dependOtherSource},
	}
}

func dependsOn(names ...string) func(*kustomizev1.Kustomization) {
	return func(ks *kustomizev1.Kustomization) {
		for _, n := range names {
			ks.Spec.DependsOn = append(ks.Spec.DependsOn, kustomizev1.DependencyReference{Name: n})
		}
	}
}

func dependChain(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	b := a.as("second")
	a.create(b.name, dependsOn(a.name))
	b.build(configMap("second", "1"))
	b.condition(kube.ConditionReady, "False", "DependencyNotReady", "dependency '"+a.namespace+"/app' is not ready")
	b.event("Normal", "DependencyNotReady", "Dependencies do not meet ready condition, retrying in 30s")
	began := time.Now()
	a.build(configMap("first", "1"))
	a.ready()
	b.ready()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the dependent was not woken: it took %s", took)
	}
	a.moveSource("main@sha1:2")
	b.revision = a.revision
	b.build(configMap("second", "2"))
	b.settled()
	b.holds("second", "1")
	a.build(configMap("first", "1"))
	b.ready()
	b.holds("second", "2")
}

func dependMissing(t *testing.T, w *world) {
	a := w.newApp(t, dependsOn("later"))
	a.build(configMap("one", "1"))
	missing := "dependency '" + a.namespace + "/later' not found"
	a.condition(kube.ConditionReady, "False", "DependencyNotReady", missing)
	a.condition(kube.ConditionReconciling, "True", "ProgressingWithRetry", missing)
	if ks := a.get(); ks.Status.ObservedGeneration == ks.Generation {
		t.Error("observedGeneration moved")
	}
	b := a.as("later")
	a.create(b.name, nil)
	b.build(configMap("two", "1"))
	a.ready()
}

func dependCycle(t *testing.T, w *world) {
	a := w.newApp(t, dependsOn("other"))
	b := a.as("other")
	a.create(b.name, dependsOn(a.name))
	a.build(configMap("one", "1"))
	b.build(configMap("two", "1"))
	for _, x := range []*app{a, b} {
		x.condition(kube.ConditionReady, "False", "DependencyNotReady", "dependencies form a cycle: ")
		x.condition(kube.ConditionStalled, "True", "DependencyNotReady", "cycle")
	}
	b.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.DependsOn = nil })
	b.build(configMap("two", "1"))
	b.ready()
	a.ready()
}

func dependCycleDeleted(t *testing.T, w *world) {
	a := w.newApp(t, dependsOn("other"))
	b := a.as("other")
	a.create(b.name, dependsOn(a.name))
	a.build(configMap("one", "1"))
	a.condition(kube.ConditionStalled, "True", "DependencyNotReady", "cycle")
	b.delete()
	a.untilWithin(retryDependency/2, "the deletion woke it", func() error {
		c := meta.FindStatusCondition(a.get().Status.Conditions, kube.ConditionReady)
		if c == nil || !strings.Contains(c.Message, "not found") {
			return fmt.Errorf("condition is %+v", c)
		}
		return nil
	})
	if meta.IsStatusConditionTrue(a.get().Status.Conditions, kube.ConditionStalled) {
		t.Error("it is still stalled")
	}
}

func dependMoved(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	b, c := a.as("second"), a.as("third")
	a.create(b.name, dependsOn(a.name))
	a.create(c.name, dependsOn(b.name))
	for _, x := range []*app{a, b, c} {
		x.build(configMap(x.name, "1"))
	}
	c.ready()
	a.moveSource("main@sha1:2")
	b.revision, c.revision = a.revision, a.revision
	c.build(configMap(c.name, "2"))
	b.build(configMap(b.name, "1"))
	c.settled()
	c.holds(c.name, "1")
	began := time.Now()
	a.build(configMap(a.name, "1"))
	c.untilWithin(retryDependency/2, "two dependencies that only moved let it go on", c.isReady)
	c.holds(c.name, "2")
	t.Logf("live %s after the first of three moved", time.Since(began).Round(time.Millisecond))
}

func dependOtherSource(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	other := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.DependsOn = []kustomizev1.DependencyReference{{Namespace: a.namespace, Name: a.name}}
	})
	other.moveSource("main@sha1:another")
	other.build(configMap("two", "1"))
	other.ready()
}

// retryDependency is how long an object waits that nobody wakes.
const retryDependency = 30 * time.Second

// isReady returns why the app is not Ready at its newest revision and generation.
func (a *app) isReady() error {
	ks := a.get()
	c := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReady)
	if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != ks.Generation || ks.Status.LastAppliedRevision != a.revision {
		return fmt.Errorf("condition is %+v", c)
	}
	return nil
}

// messages returns those of the Kubernetes Events about the app, repeated ones as
// often as they were told. An empty reason is any.
func (a *app) messages(kind, reason string) []string {
	a.t.Helper()
	list := &corev1.EventList{}
	if err := a.List(a.t.Context(), list, client.InNamespace(a.namespace)); err != nil {
		a.t.Fatal(err)
	}
	var out []string
	for _, e := range list.Items {
		if e.InvolvedObject.Name != a.name || e.Type != kind || (reason != "" && e.Reason != reason) {
			continue
		}
		for range max(e.Count, 1) {
			out = append(out, e.Message)
		}
	}
	return out
}

// journalWaits waits until the journal ends with a wait for an object.
func (a *app) journalWaits(object string) {
	a.t.Helper()
	a.until("waiting for "+object, func() error {
		history := a.history()
		if len(history) == 0 || history[len(history)-1].Type() != events.TypeHealth {
			return fmt.Errorf("journal is %v", a.journal())
		}
		data, err := events.Decode[events.Health](history[len(history)-1])
		if err != nil {
			return err
		}
		var all []string
		for _, o := range data.Waiting {
			all = append(all, o.String())
		}
		if !slices.Equal(all, []string{object}) {
			return fmt.Errorf("waiting for %v", all)
		}
		return nil
	})
}
