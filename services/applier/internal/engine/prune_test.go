package engine_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
)

func TestPrune(t *testing.T) {
	const key = "kustomize.toolkit.fluxcd.io/"
	for _, tt := range []struct {
		why, name, annotation string
		prepare               func(*fixture, cluster.Ref)
		want                  engine.Action
		stays                 bool
	}{
		{"an ordinary object is deleted", "plain", "", nil, engine.Deleted, false},
		{"IfNotPresent is no protection", "ifnotpresent", key + "ssa: IfNotPresent", nil, engine.Deleted, false},
		{"prune: disabled protects", "disabled", key + "prune: disabled", nil, engine.Skipped, true},
		{"what is gone is settled", "gone", "", func(f *fixture, r cluster.Ref) {
			if err := f.client.Delete(f.t.Context(), r, ""); err != nil {
				f.t.Fatal(err)
			}
		}, engine.Skipped, false},
		{"another owner's object stays", "foreign", "", func(f *fixture, r cluster.Ref) {
			f.edit(r, "other", "application/merge-patch+json", `{"metadata":{"labels":{"`+cluster.OwnerNameLabel+`":"other"}}}`)
		}, engine.Skipped, true},
		{"a live annotation protects", "live", "", func(f *fixture, r cluster.Ref) {
			f.edit(r, "other", "application/merge-patch+json", `{"metadata":{"annotations":{"kustomize.toolkit.fluxcd.io/ssa":"Ignore"}}}`)
		}, engine.Skipped, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			r := f.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS, annotations: {" + tt.annotation + "}}")
			ref := f.ref("v1", "ConfigMap", "c")
			if tt.prepare != nil {
				tt.prepare(f, ref)
			}
			got, err := f.engine.Prune(t.Context(), engine.PruneRequest{Owner: f.owner, Client: f.client, Stale: r.Inventory})
			if err != nil || len(got.Failed) != 0 || len(got.Outcomes) != 1 || got.Outcomes[0].Action != tt.want {
				t.Errorf("%s: %+v, %v", tt.why, got, err)
			}
			if f.exists(ref) != tt.stays {
				t.Errorf("%s: exists is %v", tt.why, !tt.stays)
			}
		})
	}
}

func TestPruneReportsWhatFailed(t *testing.T) {
	f := newFixture(t)
	r := f.apply(pair)
	client, err := f.cluster.As(f.namespace, "default")
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.engine.Prune(t.Context(), engine.PruneRequest{Owner: f.owner, Client: client, Stale: r.Inventory})
	if err == nil || len(got.Failed) != 2 || !strings.Contains(err.Error(), "ConfigMap/"+f.namespace+"/a delete failed: ") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPruneLooksOnceAtWhatTerminates(t *testing.T) {
	f := newFixture(t)
	r := f.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS, finalizers: [example.com/hold]}")
	ref := f.ref("v1", "ConfigMap", "c")
	req := engine.PruneRequest{
		Owner: f.owner, Client: f.client,
		Stale: append(r.Inventory, inventory.Entry{ID: "x_y_no.such.group_Kind", Version: "v1"}),
	}
	doomed, err := f.engine.Doomed(t.Context(), req)
	if err != nil || len(doomed) != 1 || doomed[0].UID == "" || !f.exists(ref) {
		t.Errorf("doomed: %+v, %v", doomed, err)
	}
	for n, want := range []engine.Action{engine.Deleted, engine.Skipped} {
		got, err := f.engine.Prune(t.Context(), req)
		if err != nil || actionOf(got, ref) != want {
			t.Errorf("deletion %d: %+v, %v, want %s", n+1, got, err, want)
		}
	}
	left, err := f.engine.Terminating(t.Context(), req)
	if want := []engine.Lingering{{Object: ref, Finalizers: []string{"example.com/hold"}}}; err != nil || cmp.Diff(want, left) != "" {
		t.Errorf("terminating: %v, %v", left, err)
	}
	f.edit(ref, "other", "application/merge-patch+json", `{"metadata":{"finalizers":null}}`)
	if left, err := f.engine.Terminating(t.Context(), req); err != nil || len(left) != 0 {
		t.Errorf("terminating once it is let go: %v, %v", left, err)
	}
}

func actionOf(r engine.PruneResult, ref cluster.Ref) engine.Action {
	for _, o := range r.Outcomes {
		if o.Object.Same(ref) {
			return o.Action
		}
	}
	return ""
}
