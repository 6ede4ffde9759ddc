package applier_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
)

func celCases() []testCase {
	return []testCase{
		{"WaitsForCustomHealthChecks", "an expression decides what is ready, and says what it lacks", celHealth},
		{"HealthCheckExprs_GroupOnly", "one entry without a kind serves a group, and a kind's own wins", celGroupOnly},
		{"failed", "an object that an expression calls failed ends the wait at once", celFailed},
		{"ConfigurationError, syntax", "an expression that cannot be read stalls", celInvalid("data.", "failed to parse the CEL expression")},
		{"ConfigurationError, duplicate", "two entries for a kind stall", celInvalid("", "duplicate custom health check for GroupKind ConfigMap at healthchecks[1]")},
		{"DependsOn_CEL", "an expression decides whether a dependency is ready", celDepend},
		{"DependsOn_CEL, not Ready", "an expression replaces the built-in check", celReplaces},
		{"DependsOn_CEL, invalid", "an expression about a dependency that cannot be read stalls", celDependInvalid},
		{"DependsOn_CEL, deleted", "objects go with their Kustomization though its dependency fails", celDependDeleted},
	}
}

// judged makes ConfigMaps ready by an expression.
func judged(checks ...kustomize.CustomHealthCheck) func(*kustomizev1.Kustomization) {
	return func(ks *kustomizev1.Kustomization) {
		waiting(ks)
		ks.Spec.HealthCheckExprs = checks
	}
}

func custom(kind, current string) kustomize.CustomHealthCheck {
	return kustomize.CustomHealthCheck{APIVersion: "v1", Kind: kind, HealthCheckExpressions: kustomize.HealthCheckExpressions{Current: current}}
}

func celHealth(t *testing.T, w *world) {
	a := w.newApp(t, judged(custom("ConfigMap", "data.v == 'ready' && status.phase == 'Done'")))
	a.build(configMap("one", "ready"))
	a.condition(kube.ConditionHealthy, "Unknown", "Progressing", "Running health checks for revision "+a.revision)
	a.untilWithin(2*patience, "the timeout says what is missing", func() error {
		for _, m := range a.messages("Warning", "HealthCheckFailed") {
			if strings.Contains(m, "timeout waiting for: [ConfigMap/"+a.namespace+"/one status: 'Unknown': failed to evaluate the CEL expression") &&
				strings.Contains(m, "no such attribute(s): status.phase") {
				return nil
			}
		}
		return fmt.Errorf("no such event")
	})
	a.edit(func(ks *kustomizev1.Kustomization) {
		ks.Spec.HealthCheckExprs = []kustomize.CustomHealthCheck{custom("ConfigMap", "data.v == 'ready'")}
	})
	a.build(configMap("one", "ready"))
	a.ready()
	a.condition(kube.ConditionHealthy, "True", "Succeeded", "Health check passed in")
}

func celGroupOnly(t *testing.T, w *world) {
	a := w.newApp(t, judged(custom("", "metadata.name.startsWith('in-')"), custom("Service", "spec.ports.size() == 1")))
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NS}\nspec: {ports: [{port: 80}]}\n"
	account := "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: in-two, namespace: NS}\n"
	a.build(configMap("in-one", "1"), account, service)
	a.ready()
	a.moveSource("main@sha1:2")
	a.build(configMap("in-one", "1"), account, service, configMap("out", "1"))
	a.journalWaits("ConfigMap/" + a.namespace + "/out")
	a.moveSource("main@sha1:3")
	a.build(configMap("in-one", "1"), account, service)
	a.ready()
}

func celFailed(t *testing.T, w *world) {
	check := custom("ConfigMap", "data.v == 'ready'")
	check.Failed = "data.v == 'broken'"
	check.InProgress = "data.v == 'soon'"
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		judged(check)(ks)
		ks.Spec.RetryInterval.Duration = time.Hour
	})
	a.build(configMap("one", "soon"))
	a.journalWaits("ConfigMap/" + a.namespace + "/one")
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "broken"))
	a.event("Warning", "HealthCheckFailed", "failed early due to stalled resources: [ConfigMap/"+a.namespace+"/one status: 'Failed']")
	for kind, status := range map[string]metav1.ConditionStatus{kube.ConditionHealthy: "False", kube.ConditionReady: "False"} {
		a.condition(kind, status, "HealthCheckFailed", "health check failed after ")
	}
	ks := a.condition(kube.ConditionReconciling, "True", "ProgressingWithRetry", "failed early")
	if ks.Status.ObservedGeneration == ks.Generation || ks.Status.LastAppliedRevision != "" || ks.Status.LastAttemptedRevision != a.revision {
		t.Errorf("status is %s", a.describe())
	}
	a.moveSource("main@sha1:3")
	a.build(configMap("one", "ready"))
	a.ready()
}

func celInvalid(text, message string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		checks := []kustomize.CustomHealthCheck{custom("ConfigMap", text)}
		if text == "" {
			checks = []kustomize.CustomHealthCheck{custom("ConfigMap", "true"), custom("ConfigMap", "true")}
		}
		a := w.newApp(t, judged(checks...))
		a.build(configMap("one", "1"))
		ks := a.condition(kube.ConditionStalled, "True", "InvalidCELExpression", message)
		a.condition(kube.ConditionReady, "False", "InvalidCELExpression", "Reconciliation failed terminally due to configuration error: ")
		if ks.Status.ObservedGeneration != ks.Generation {
			t.Error("observedGeneration lags")
		}
		if _, err := a.configMap("one"); err == nil {
			t.Error("it was applied")
		}
		a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.HealthCheckExprs = nil })
		a.build(configMap("one", "1"))
		a.ready()
	}
}

func dependsWhen(name, text string) func(*kustomizev1.Kustomization) {
	return func(ks *kustomizev1.Kustomization) {
		ks.Spec.DependsOn = []kustomizev1.DependencyReference{{Name: name, ReadyExpr: text}}
	}
}

func label(value string) func(*kustomizev1.Kustomization) {
	return func(ks *kustomizev1.Kustomization) { ks.Labels = map[string]string{"version": value} }
}

func celDepend(t *testing.T, w *world) {
	a := w.newApp(t, label("1"))
	a.build(configMap("one", "1"))
	a.ready()
	b := a.as("second")
	b.create(b.name, func(ks *kustomizev1.Kustomization) {
		label("2")(ks)
		dependsWhen(a.name, "dep.metadata.labels['version'] == self.metadata.labels['version'] && dep.status.lastAppliedRevision != ''")(ks)
	})
	b.build(configMap("two", "1"))
	b.condition(kube.ConditionReady, "False", "DependencyNotReady", "dependency '"+a.namespace+"/app' is not ready according to readyExpr eval")
	a.edit(label("2"))
	b.untilWithin(retryDependency/2, "the change of the dependency woke it", b.isReady)
	b.edit(label("3"))
	a.moveSource("main@sha1:2")
	b.revision = a.revision
	b.build(configMap("two", "2"))
	b.condition(kube.ConditionReady, "False", "DependencyNotReady", "readyExpr eval")
	b.edit(label("2"))
	b.untilWithin(retryDependency/2, "its own change woke it", b.isReady)
}

func celReplaces(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		waiting(ks)
		dependsWhen("second", "dep.metadata.name == 'second'")(ks) // no cycle: nobody waits to be ready
	})
	b := a.as("second")
	b.create(b.name, dependsWhen(a.name, "has(dep.status.inventory)"))
	a.build(deployment("stuck", false))
	b.build(configMap("two", "1"))
	b.ready()
	if err := a.isReady(); err == nil {
		t.Error("the dependency is ready")
	}
}

func celAdditive(t *testing.T, w *world) {
	w.with(applier.Settings{AdditiveDependencyCheck: true}, func() {
		a := w.newApp(t, nil)
		b := a.as("second")
		b.create(b.name, dependsWhen(a.name, "true"))
		b.build(configMap("two", "1"))
		b.condition(kube.ConditionReady, "False", "DependencyNotReady", "dependency '"+a.namespace+"/app' is not ready")
		a.build(configMap("one", "1"))
		b.ready()
	})
}

func celDependInvalid(t *testing.T, w *world) {
	a := w.newApp(t, dependsWhen("later", "dep.metadata.name =="))
	a.build(configMap("one", "1"))
	a.condition(kube.ConditionReady, "False", "DependencyNotReady", "not found")
	b := a.as("later")
	b.create(b.name, nil)
	ks := a.condition(kube.ConditionStalled, "True", "InvalidCELExpression", "failed to parse the CEL expression")
	a.condition(kube.ConditionReady, "False", "InvalidCELExpression", "Reconciliation failed terminally due to configuration error: ")
	if ks.Status.ObservedGeneration != ks.Generation {
		t.Error("observedGeneration lags")
	}
	a.edit(dependsWhen(b.name, "dep.metadata.labels['x'] == 'y'"))
	a.build(configMap("one", "1"))
	a.condition(kube.ConditionReady, "False", "DependencyNotReady", "failed to evaluate the CEL expression")
}

func celDependDeleted(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	a.edit(dependsWhen("none", "true"))
	a.build(configMap("one", "1"))
	a.condition(kube.ConditionReady, "False", "DependencyNotReady", "not found")
	a.delete()
	a.absent("one")
}
