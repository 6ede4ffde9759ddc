package budget_test

import (
	"fmt"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/services/applier/internal/budget"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

func annotated(key, value string) *kustomizev1.Kustomization {
	ks := &kustomizev1.Kustomization{}
	ks.Annotations = map[string]string{key: value}
	return ks
}

func refs(n int) []cluster.Ref {
	var out []cluster.Ref
	for i := range n {
		out = append(out, cluster.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "ns", Name: fmt.Sprint(i)})
	}
	return out
}

func TestAllows(t *testing.T) {
	namespace := cluster.Ref{Version: "v1", Kind: "Namespace", Name: "x"}
	definition := cluster.Ref{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition", Name: "x"}
	for _, c := range []struct {
		budget string
		refs   []cluster.Ref
		of     int
		want   bool
		reason string
	}{
		{"5", refs(5), 100, true, "up to the number"},
		{"5", refs(6), 100, false, "not beyond it"},
		{"0", nil, 100, true, "nothing is always allowed"},
		{"0", refs(1), 100, false, "zero asks for every deletion"},
		{"20%", refs(20), 100, true, "up to the share"},
		{"20%", refs(21), 100, false, "not beyond it"},
		{"20%", refs(1), 4, false, "a share of a small inventory may be less than one object"},
		{"100%", refs(4), 4, true, "all of it"},
		{"5", []cluster.Ref{namespace}, 100, false, "a namespace takes along what nobody counted"},
		{"99%", []cluster.Ref{definition}, 100, false, "so does a definition"},
		{"100%", []cluster.Ref{namespace}, 1, true, "who allows everything allows that"},
	} {
		b, set, err := budget.Of(annotated(budget.Annotation, c.budget))
		if err != nil || !set {
			t.Fatalf("%s: set %v, %v", c.budget, set, err)
		}
		if got := b.Allows(c.refs, c.of); got != c.want {
			t.Errorf("budget %s allows %d of %d: %v, want %v: %s", b, len(c.refs), c.of, got, c.want, c.reason)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, text := range []string{"", "five", "-1", "1.5", "101%", "%", "5 %", " 5", "99999999999999999999"} {
		if _, set, err := budget.Of(annotated(budget.Annotation, text)); err == nil || !set {
			t.Errorf("%q: set %v, error %v", text, set, err)
		}
	}
	if _, set, err := budget.Of(&kustomizev1.Kustomization{}); set || err != nil {
		t.Errorf("no annotation: set %v, error %v", set, err)
	}
}

func TestDigest(t *testing.T) {
	r := refs(2)
	plan := budget.Plan{{Object: r[0], UID: "a"}, {Object: r[1], UID: "b"}}
	for _, c := range []struct {
		other  budget.Plan
		same   bool
		reason string
	}{
		{budget.Plan{plan[1], plan[0]}, true, "the order is no part of it"},
		{plan[:1], false, "fewer objects"},
		{budget.Plan{plan[0], {Object: r[1], UID: "c"}}, false, "an object that was made anew"},
		{budget.Plan{plan[0], {Object: cluster.Ref{Group: "x", Version: "v1", Kind: "ConfigMap", Namespace: "ns", Name: "1"}, UID: "b"}}, false, "another group"},
	} {
		if got := c.other.Approved(annotated(budget.Approval, plan.Digest())); got != c.same {
			t.Errorf("approved is %v: %s", got, c.reason)
		}
	}
}
