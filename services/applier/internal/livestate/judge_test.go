package livestate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestBucket(t *testing.T) {
	start := time.Unix(1000, 0)
	var b bucket
	for _, tt := range []struct {
		why      string
		after    time.Duration
		wait     time.Duration
		repeated bool
	}{
		{"the first passes", 0, 0, false},
		{"the second passes", 0, 0, false},
		{"the third waits for the next one earned", 0, 10 * time.Second, true},
		{"so does one a little later, less", 4 * time.Second, 6 * time.Second, true},
		{"one is earned", 10 * time.Second, 0, false},
		{"and used", 11 * time.Second, 9 * time.Second, true},
		{"after a rest two pass again", time.Minute, 0, false},
		{"the second of them", time.Minute, 0, false},
	} {
		wait, repeated := b.take(start.Add(tt.after), 2, 10*time.Second)
		if wait != tt.wait || repeated != tt.repeated {
			t.Errorf("%s: wait %s, repeated %v; want %s, %v", tt.why, wait, repeated, tt.wait, tt.repeated)
		}
	}
}

func TestOptOuts(t *testing.T) {
	const key = "kustomize.toolkit.fluxcd.io/"
	for _, tt := range []struct {
		why                 string
		annotations, labels map[string]string
		want                OptOut
	}{
		{"nothing asked", nil, nil, 0},
		{"letter case does not matter", map[string]string{key + "reconcile": "DISABLED"}, nil, NoReconcile},
		{"a label counts too", nil, map[string]string{key + "prune": "disabled"}, NoPrune},
		{"another value asks for nothing", map[string]string{key + "reconcile": "enabled", key + "ssa": "Override"}, nil, 0},
		{"several at once", map[string]string{key + "ssa": "Merge", key + "force": "enabled"}, nil, Merge | Force},
	} {
		if got := OptOuts(tt.annotations, tt.labels); got != tt.want {
			t.Errorf("%s: %b, want %b", tt.why, got, tt.want)
		}
	}
}

func TestAbsorbs(t *testing.T) {
	const restart = `{"f:spec":{"f:template":{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/restartedAt":{}}}}}}`
	const data = `{"f:data":{"f:k":{}}}`
	const apply, update = metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate
	for _, tt := range []struct {
		why, manager string
		operation    metav1.ManagedFieldsOperationType
		fields, sub  string
		want         bool
	}{
		{"kubectl's server-side apply", "kubectl", apply, data, "", true},
		{"kubectl's client-side apply", "kubectl-client-side-apply", update, data, "", true},
		{"a subresource is let be", "kubectl", update, data, "scale", false},
		{"what was there before", "before-first-apply", update, data, "", true},
		{"our own updates", cluster.Manager, update, data, "", true},
		{"our own applies", cluster.Manager, apply, data, "", false},
		{"a rollout restart alone", "kubectl-rollout", update, restart, "", false},
		{"a restart among other fields", "kubectl-edit", update, `{"f:spec":{"f:replicas":{},"f:template":{"f:metadata":{"f:annotations":{"f:kubectl.kubernetes.io/restartedAt":{}}}}}}`, "", true},
		{"an operator's setting", "legacy-tool-2", update, data, "", true},
		{"a controller", "kube-controller-manager", update, data, "", false},
		{"Flux's own preserved manager", "flux-client-side-apply", apply, data, "", false},
	} {
		e := metav1.ManagedFieldsEntry{Manager: tt.manager, Operation: tt.operation, Subresource: tt.sub, FieldsV1: metav1.NewFieldsV1(tt.fields)}
		if got := Absorbs(e, []string{"legacy-"}); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.why, got, tt.want)
		}
	}
}

func TestOutboxKeepsTheStrongerNotice(t *testing.T) {
	now := time.Unix(1000, 0)
	owner := cluster.Owner{Namespace: "a", Name: "b"}
	ref := cluster.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "a", Name: "c"}
	o := newOutbox()
	o.add(owner, Notice{Object: ref, Why: Verify}, now.Add(time.Second))
	o.add(owner, Notice{Object: ref, Why: Changed}, now.Add(time.Millisecond))
	o.add(owner, Notice{Object: ref, Why: Verify}, now.Add(time.Second))
	got, _, _ := o.due(now.Add(time.Millisecond))
	if diff := cmp.Diff([]Notice{{Object: ref, Why: Changed}}, got[owner]); diff != "" {
		t.Error(diff)
	}
	if got, _, next := o.due(now.Add(time.Hour)); len(got) != 0 || !next.IsZero() {
		t.Errorf("left over: %v, next %v", got, next)
	}
}
