package depend

import (
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/cel"
)

// TestWhatIsMissing says of a dependency what it lacks, in the words that Flux's users know.
func TestWhatIsMissing(t *testing.T) {
	compiler, err := cel.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	const newest = "main@sha1:2"
	ready := func(dep *kustomizev1.Kustomization) {
		dep.Status.Conditions = []metav1.Condition{{Type: kube.ConditionReady, Status: metav1.ConditionTrue, ObservedGeneration: 1}}
		dep.Status.ObservedGeneration, dep.Status.LastAppliedRevision = 1, newest
	}
	for _, c := range []struct {
		why      string
		dep      func(*kustomizev1.Kustomization)
		expr     string
		additive bool
		says     string
	}{
		{"nobody made it", nil, "", false, `dependency 'tenant/b' not found: kustomizations "b" not found`},
		{"it is Ready at the revision", ready, "", false, ""},
		{"it is not Ready", func(dep *kustomizev1.Kustomization) {
			ready(dep)
			dep.Status.Conditions[0].Status = metav1.ConditionFalse
		}, "", false, "dependency 'tenant/b' is not ready"},
		{"it is Ready at the generation before", func(dep *kustomizev1.Kustomization) {
			ready(dep)
			dep.Generation = 2
		}, "", false, "dependency 'tenant/b' is not ready"},
		{"it is Ready at the revision before", func(dep *kustomizev1.Kustomization) {
			ready(dep)
			dep.Status.LastAppliedRevision = "main@sha1:1"
		}, "", false, "dependency 'tenant/b' revision is not up to date"},
		{"it is Ready at a revision of another source", func(dep *kustomizev1.Kustomization) {
			ready(dep)
			dep.Spec.SourceRef.Name, dep.Status.LastAppliedRevision = "other", "main@sha1:1"
		}, "", false, ""},
		{"an expression is met, which is enough", func(*kustomizev1.Kustomization) {}, "dep.metadata.name == 'b'", false, ""},
		{"an expression is met, which is not enough", func(*kustomizev1.Kustomization) {}, "dep.metadata.name == 'b'", true, "dependency 'tenant/b' is not ready"},
		{"an expression is not met", ready, "self.metadata.name == 'b'", true, "dependency 'tenant/b' is not ready according to readyExpr eval"},
		{"an expression and the built-in check are met", ready, "dep.metadata.name == 'b'", true, ""},
	} {
		cache := tenant{all: map[string]*kustomizev1.Kustomization{}, asked: func() {}}
		cache.add("a", "b")
		cache.all["a"].Spec.DependsOn[0].ReadyExpr = c.expr
		if c.dep != nil {
			cache.add("b")
			cache.all["b"].Generation = 1
			c.dep(cache.all["b"])
		}
		got, err := Checker{Cache: cache, CEL: compiler, Additive: c.additive}.Check(t.Context(), cache.all["a"], newest, false)
		if err != nil || got.Message != c.says {
			t.Errorf("%s: it says %q, %v, want %q", c.why, got.Message, err, c.says)
		}
	}
}
