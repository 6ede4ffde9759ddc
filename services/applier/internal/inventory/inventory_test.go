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
	scoped := func(namespaces ...string) (list []Entry) {
		for _, namespace := range namespaces {
			list = append(list, Entry{ID: namespace + "_w_example.com_Widget", Version: "v1"})
		}
		return list
	}
	if got := Stale(scoped("ns", "other"), scoped("")); len(got) > 0 {
		t.Errorf("a kind without namespaces was noted with one: %v is no other object", got)
	}
	if got := Stale(scoped(""), scoped("ns")); len(got) > 0 {
		t.Errorf("a kind that cannot be looked up is noted as it is written: %v is no other object", got)
	}
	if diff := cmp.Diff(scoped("ns"), Stale(scoped("ns"), scoped("other"))); diff != "" {
		t.Errorf("one namespace is not another: %s", diff)
	}
	merged := Merge(current, []Entry{entry("c", "v1"), entry("a", "v1")})
	if diff := cmp.Diff([]Entry{entry("a", "v1"), entry("c", "v1"), entry("d", "v1")}, merged); diff != "" {
		t.Error(diff)
	}
}
