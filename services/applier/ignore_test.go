package applier_test

import (
	"fmt"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
)

func ignoreCases() []testCase {
	return []testCase{
		{"update", "a value that somebody updates stays, also over a new revision", ignoreUpdate},
		{"apply", "a field that another manager applies is left to it as a whole", ignoreApply},
		{"kubectl", "what kubectl writes to an ignored field stays, though its fields are taken over", ignoreKubectl},
		{"target", "a rule reaches the objects its target matches, and no others", ignoreTarget},
		{"whole object", "the empty pointer leaves an object that exists to others", ignoreWhole},
		{"removed rule", "the end of a rule puts the field back", ignoreRemoved},
		{"malformed", "a pointer that is none stalls by name", ignoreMalformed},
	}
}

// ignoring is an app with one rule and a ConfigMap "one" of keys v and w.
func (w *world) ignoring(t *testing.T, rule kustomizev1.IgnoreRule) *app {
	t.Helper()
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.Ignore = []kustomizev1.IgnoreRule{rule} })
	a.build(twoKeys("1"), configMap("two", "1"))
	a.ready()
	a.holds("one", "1") // the value of Git, because there was none
	a.settled()
	return a
}

func twoKeys(value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: NS}\ndata: {v: %q, w: %q}\n", value, value)
}

// data waits until ConfigMap one has exactly this data.
func (a *app) data(v, w string) {
	a.t.Helper()
	a.until("data of one", func() error {
		cm, err := a.configMap("one")
		if err == nil && (cm.Data["v"] != v || cm.Data["w"] != w) {
			err = fmt.Errorf("data is %v", cm.Data)
		}
		return err
	})
}

var ignoreV = kustomizev1.IgnoreRule{Paths: []string{"/data/v"}}

func driftIgnoreRules(t *testing.T, w *world) {
	a := w.ignoring(t, ignoreV)
	a.setValue("one", "v", "foreign")
	a.setValue("one", "w", "foreign")
	a.data("foreign", "1")
	a.settled()
	a.data("foreign", "1")
}

func ignoreUpdate(t *testing.T, w *world) {
	a := w.ignoring(t, ignoreV)
	a.setValue("one", "v", "foreign")
	a.settled()
	cm, err := a.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	if cm.Data["v"] != "foreign" {
		t.Errorf("data is %v", cm.Data)
	}
	if a.has(events.TypeDriftDetected) {
		t.Error("an ignored field was called drift")
	}
	before := cm.ResourceVersion
	a.annotate(kube.RequestedAt, "again")
	a.ready()
	a.settled()
	if cm, err = a.configMap("one"); err != nil || cm.ResourceVersion != before {
		t.Errorf("nothing but an ignored field differs, and it was written: %v, %v", cm.ManagedFields, err)
	}
	a.moveSource("main@sha1:2")
	a.build(twoKeys("2"), configMap("two", "1"))
	a.ready()
	a.data("foreign", "2")
}

// has says whether the journal has an event of a type.
func (a *app) has(eventType string) bool {
	a.t.Helper()
	for _, e := range a.history() {
		if e.Type() == eventType {
			return true
		}
	}
	return false
}

func ignoreApply(t *testing.T, w *world) {
	a := w.ignoring(t, ignoreV)
	patch := func(data string) {
		t.Helper()
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "one"}}
		body := "apiVersion: v1\nkind: ConfigMap\ndata: " + data
		if err := a.Patch(t.Context(), cm, client.RawPatch("application/apply-patch+yaml", []byte(body)), client.FieldOwner("somebody"), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
	}
	patch(`{v: "theirs"}`)
	a.settled()
	a.moveSource("main@sha1:2")
	a.build(twoKeys("2"), configMap("two", "1"))
	a.ready()
	a.data("theirs", "2")
	patch(`{}`) // it is theirs alone, so it goes with them
	a.settled()
	a.data("", "2")
}

func ignoreKubectl(t *testing.T, w *world) {
	a := w.ignoring(t, ignoreV)
	cm, err := a.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	before := cm.DeepCopy()
	cm.Data["v"], cm.Data["extra"] = "kubectl's", "kubectl's"
	if err := a.Patch(t.Context(), cm, client.MergeFrom(before), client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
	a.taken("one")
	a.settled()
	a.data("kubectl's", "1")
}

func ignoreTarget(t *testing.T, w *world) {
	a := w.ignoring(t, kustomizev1.IgnoreRule{Paths: ignoreV.Paths, Target: &kustomize.Selector{Kind: "Config.*", Name: "one"}})
	a.setValue("one", "v", "foreign")
	a.setValue("two", "v", "foreign")
	a.holds("two", "1")
	a.settled()
	a.data("foreign", "1")
}

func ignoreWhole(t *testing.T, w *world) {
	a := w.ignoring(t, kustomizev1.IgnoreRule{Paths: []string{""}, Target: &kustomize.Selector{Name: "one"}})
	a.setValue("one", "w", "foreign")
	a.moveSource("main@sha1:2")
	a.build(twoKeys("2"), configMap("two", "2"))
	a.ready()
	a.holds("two", "2")
	a.data("1", "foreign")
}

func ignoreRemoved(t *testing.T, w *world) {
	a := w.ignoring(t, ignoreV)
	a.setValue("one", "v", "foreign")
	a.settled()
	a.data("foreign", "1")
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Ignore = nil })
	a.build(twoKeys("1"), configMap("two", "1"))
	a.ready()
	a.data("1", "1")
}

func ignoreMalformed(t *testing.T, w *world) {
	for _, c := range []struct {
		why, message string
		rule         kustomizev1.IgnoreRule
	}{
		{"a pointer begins with a slash", `spec.ignore[0].paths[0]: "data/v" is no JSON pointer`, kustomizev1.IgnoreRule{Paths: []string{"data/v"}}},
		{"a name is a regular expression", "spec.ignore[0].target.name is no regular expression", kustomizev1.IgnoreRule{Paths: ignoreV.Paths, Target: &kustomize.Selector{Name: "("}}},
		{"a label selector", "spec.ignore[0].target.labelSelector is no selector", kustomizev1.IgnoreRule{Paths: ignoreV.Paths, Target: &kustomize.Selector{LabelSelector: "a in"}}},
		{"an annotation selector", "spec.ignore[0].target.annotationSelector is no selector", kustomizev1.IgnoreRule{Paths: ignoreV.Paths, Target: &kustomize.Selector{AnnotationSelector: "=b="}}},
	} {
		a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.Ignore = []kustomizev1.IgnoreRule{c.rule} })
		a.condition(kube.ConditionStalled, "True", "InvalidIgnoreRule", c.message)
	}
}
