package applier_test

import (
	"fmt"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	appsv1 "k8s.io/api/apps/v1"
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
	ks := a.condition(kube.ConditionHealthy, "Unknown", "Progressing", "Running health checks for revision "+a.revision+" with a timeout of 30s")
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
	a.event("Warning", "HealthCheckFailed", "timeout waiting for: [Deployment/"+a.namespace+"/stuck status: 'InProgress']")
	if ks := a.get(); ks.Status.ObservedGeneration == ks.Generation || ks.Status.LastAppliedRevision != "" {
		t.Errorf("status is %s", a.describe())
	}
	a.moveSource("main@sha1:2")
	a.build(deployment("stuck", true))
	a.ready()
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
	a.build(configMap("one", "1"), "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: never\n  namespace: NS\n  annotations: {kustomize.toolkit.fluxcd.io/ssa: Ignore}\n")
	ks := a.ready()
	if len(ks.Status.Inventory.Entries) != 2 {
		t.Errorf("inventory is %v", ks.Status.Inventory.Entries)
	}
}

func dependCases() []testCase {
	return []testCase{
		{"chain", "a dependent waits for the revision of the shared source", dependChain},
		{"missing", "a missing dependency is named, and waited for", dependMissing},
		{"cycle", "objects that wait for each other are told so", dependCycle},
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
	a.condition(kube.ConditionReady, "False", "DependencyNotReady", "dependency '"+a.namespace+"/later' not found")
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
