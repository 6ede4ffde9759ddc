package applier_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
)

const annotationDrift = "sluice.dev/drift"

func reportCases() []testCase {
	return []testCase{
		{"edit", "drift is told by field, once, and not put back; so is its end", reportEdit},
		{"secret", "no value of a Secret is told", reportSecret},
		{"deleted", "a missing object is told, and not made again", reportDeleted},
		{"kubectl", "a field that kubectl added is told, and not removed", reportKubectl},
		{"revision", "a new revision applies all the same", reportRevision},
		{"same render", "a revision that renders the same only moves", reportSameRender},
		{"requested", "a requested reconciliation puts back", reportRequested},
		{"switched off", "without the annotation what drifted is put back", reportSwitchedOff},
		{"waiting", "nothing is put back while the health of others is waited for", reportWaiting},
		{"ignored", "a field that is left to others is no drift", reportIgnored},
		{"malformed", "another value stalls by name, and nothing is put back meanwhile", reportMalformed},
	}
}

// reporting is an app that has drift reported.
func (w *world) reporting(t *testing.T, manifests ...string) *app {
	t.Helper()
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Annotations = map[string]string{annotationDrift: "report"} })
	a.build(manifests...)
	a.ready()
	a.settled()
	return a
}

// detected waits until the newest event tells drift of so many objects, and returns it.
func (a *app) detected(objects int) events.DriftDetected {
	a.t.Helper()
	var data events.DriftDetected
	a.until(fmt.Sprintf("drift of %d objects is told", objects), func() error {
		all := a.history()
		last := all[len(all)-1]
		data = events.DriftDetected{}
		if err := json.Unmarshal(last.Data(), &data); err != nil {
			return err
		}
		if last.Type() != events.TypeDriftDetected || len(data.Objects) != objects {
			return fmt.Errorf("the newest event is %s %s", last.Type(), last.Data())
		}
		return nil
	})
	return data
}

func reportEdit(t *testing.T, w *world) {
	a := w.reporting(t, configMap("one", "1"), configMap("two", "2"))
	a.setValue("one", "v", "foreign")
	d := a.detected(1).Differences[0]
	if d.Object.Name != "one" || len(d.Fields) != 1 || d.Fields[0] != (events.FieldDifference{Path: "/data/v", Live: `"foreign"`, Wanted: `"1"`, Manager: "somebody"}) {
		t.Errorf("difference is %+v", d)
	}
	a.event("Warning", "DriftDetected", "ConfigMap/"+a.namespace+`/one differs: /data/v is "foreign", not "1" (by somebody)`)
	a.setValue("one", "extra", "unmanaged")
	a.settled()
	a.holds("one", "foreign")
	if n := strings.Count(strings.Join(a.journal(), " "), events.TypeDriftDetected); n != 1 {
		t.Errorf("the same drift was told %d times", n)
	}
	a.setValue("two", "v", "foreign")
	a.detected(2)
	a.setValue("one", "v", "1")
	a.setValue("two", "v", "2")
	a.detected(0)
	a.event("Normal", "DriftGone", "as they were applied")
	if a.has(events.TypeDriftCorrected) {
		t.Error("drift was put back")
	}
}

func reportSecret(t *testing.T, w *world) {
	a := w.reporting(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: NS}\nstringData: {password: hunter2}\n")
	secret := &corev1.Secret{}
	if err := a.Get(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "login"}, secret); err != nil {
		t.Fatal(err)
	}
	before := secret.DeepCopy()
	secret.Data["password"], secret.Data["extra"] = []byte("swordfish"), []byte("sesame")
	if err := a.Patch(t.Context(), secret, client.MergeFrom(before), client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
	d := a.detected(1)
	event := a.event("Warning", "DriftDetected", "/data/password is *****, not *****")
	if !strings.Contains(event.Message, "/data/extra is *****, not absent") {
		t.Errorf("message is %q", event.Message)
	}
	a.settled()
	told := fmt.Sprint(a.history(), d, event, a.describe())
	for _, value := range []string{"hunter2", "swordfish", "sesame"} {
		if strings.Contains(told, value) || strings.Contains(told, base64.StdEncoding.EncodeToString([]byte(value))) {
			t.Errorf("%s was told: %s", value, told)
		}
	}
}

func reportDeleted(t *testing.T, w *world) {
	a := w.reporting(t, configMap("one", "1"), configMap("two", "2"))
	if err := a.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "one"}}); err != nil {
		t.Fatal(err)
	}
	if d := a.detected(1).Differences[0]; !d.Missing {
		t.Errorf("difference is %+v", d)
	}
	a.event("Warning", "DriftDetected", "ConfigMap/"+a.namespace+"/one is missing")
	a.settled()
	a.absent("one")
}

func reportKubectl(t *testing.T, w *world) {
	a := w.reporting(t, configMap("one", "1"))
	cm, err := a.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	before := cm.DeepCopy()
	cm.Data["extra"] = "kubectl's"
	if err := a.Patch(t.Context(), cm, client.MergeFrom(before), client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
	if d := a.detected(1).Differences[0]; len(d.Fields) != 1 || d.Fields[0] != (events.FieldDifference{Path: "/data/extra", Live: `"kubectl's"`, Manager: "kubectl-edit"}) {
		t.Errorf("difference is %+v", d)
	}
	a.settled()
	if cm, err = a.configMap("one"); err != nil || cm.Data["extra"] == "" {
		t.Errorf("data is %v: %v", cm.Data, err)
	}
}

// drifted is a reporting app with one object that differs.
func (w *world) drifted(t *testing.T) *app {
	t.Helper()
	a := w.reporting(t, configMap("one", "1"))
	a.setValue("one", "v", "foreign")
	a.detected(1)
	return a
}

func reportRevision(t *testing.T, w *world) {
	a := w.drifted(t)
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "1"), configMap("two", "2"))
	a.ready()
	a.holds("one", "1")
	a.holds("two", "2")
}

func reportSameRender(t *testing.T, w *world) {
	a := w.drifted(t)
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "1"))
	a.ready()
	a.settled()
	a.holds("one", "foreign")
}

func reportRequested(t *testing.T, w *world) {
	a := w.drifted(t)
	a.annotate(kube.RequestedAt, "now")
	a.holds("one", "1")
}

func reportSwitchedOff(t *testing.T, w *world) {
	a := w.drifted(t)
	a.annotate(annotationDrift, "correct")
	a.holds("one", "1")
	a.journalHas(events.TypeDriftCorrected)
}

func reportWaiting(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		ks.Annotations = map[string]string{annotationDrift: "report"}
		ks.Spec.Wait = true
	})
	a.build(configMap("one", "1"), "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: never, namespace: NS}\n"+
		"spec: {replicas: 1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {nodeName: none, containers: [{name: c, image: none}]}}}\n")
	a.condition(kube.ConditionHealthy, "Unknown", "Progressing", "")
	a.setValue("one", "v", "foreign")
	a.detected(1)
	a.settled()
	a.holds("one", "foreign")
}

func reportIgnored(t *testing.T, w *world) {
	a := w.ignoring(t, ignoreV)
	a.annotate(annotationDrift, "report")
	a.setValue("one", "v", "foreign")
	a.setValue("one", "w", "foreign")
	if d := a.detected(1).Differences[0]; len(d.Fields) != 1 || d.Fields[0].Path != "/data/w" {
		t.Errorf("difference is %+v", d)
	}
	a.data("foreign", "foreign")
}

func reportMalformed(t *testing.T, w *world) {
	a := w.reporting(t, configMap("one", "1"))
	a.annotate(annotationDrift, "Report")
	a.condition(kube.ConditionStalled, "True", "InvalidDriftMode",
		fmt.Sprintf(`annotation sluice.dev/drift of Kustomization %s/app is "Report": write "report"`, a.namespace))
	a.setValue("one", "v", "foreign")
	a.detected(1)
	a.holds("one", "foreign")
	a.annotate(annotationDrift, "correct")
	a.ready()
	a.holds("one", "1")
}
