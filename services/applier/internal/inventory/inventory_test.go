package inventory

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

func TestID(t *testing.T) {
	for _, tt := range []struct {
		why string
		ref cluster.Ref
		id  string
	}{
		{"cluster-scoped core kind keeps its empty parts", cluster.Ref{Version: "v1", Kind: "Namespace", Name: "flux-system"}, "_flux-system__Namespace"},
		{"grouped kind", cluster.Ref{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "default", Name: "app"}, "default_app_apps_Deployment"},
		{"RBAC name with colons", cluster.Ref{Group: rbac, Version: "v1", Kind: "ClusterRole", Name: "system:admin:x"}, "_system__admin__x_rbac.authorization.k8s.io_ClusterRole"},
		{"dots in a name", cluster.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "a", Name: "b.c"}, "a_b.c__ConfigMap"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			if got := ID(tt.ref); got != tt.id {
				t.Errorf("ID = %q, want %q", got, tt.id)
			}
			got, err := Parse(Entry{ID: tt.id, Version: tt.ref.Version})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.ref, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefusesWhatIsNoID(t *testing.T) {
	for _, id := range []string{"", "a", "a_b", "a_b_c", "a__c_Kind", "a_b_c_"} {
		if ref, err := Parse(Entry{ID: id}); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", id, ref)
		}
	}
}

func TestStale(t *testing.T) {
	entry := func(name, version string) Entry {
		return Entry{ID: "ns_" + name + "_apps_Deployment", Version: version}
	}
	previous := []Entry{entry("a", "v1beta1"), entry("b", "v1"), entry("c", "v1")}
	current := []Entry{entry("a", "v1"), entry("d", "v1")}
	want := []Entry{entry("b", "v1"), entry("c", "v1")}
	if diff := cmp.Diff(want, Stale(previous, current)); diff != "" {
		t.Errorf("a moved version is no other object: %s", diff)
	}
	merged := Merge(current, []Entry{entry("c", "v1"), entry("a", "v1")})
	if diff := cmp.Diff([]Entry{entry("a", "v1"), entry("c", "v1"), entry("d", "v1")}, merged); diff != "" {
		t.Error(diff)
	}
}
