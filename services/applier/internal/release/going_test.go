package release_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// TestGoing upgrades a release one of whose objects is being deleted and is held by a finalizer: what is
// applied to it goes with it, so the upgrade waits for that and makes it anew.
func TestGoing(t *testing.T) {
	const namespace = "going"
	makeNamespace(t, namespace)
	a := newApplier(t, namespace, 1<<40)
	finish(t, a, namespace, release.Install)
	held := cluster.Ref{Version: "v1", Kind: "ConfigMap", Namespace: namespace, Name: "two"}
	patch := func(finalizers string) {
		t.Helper()
		if _, err := a.client.Patch(t.Context(), held, types.MergePatchType, []byte(`{"metadata":{"finalizers":`+finalizers+`}}`)); err != nil {
			t.Fatal(err)
		}
	}
	patch(`["example.com/held"]`)
	old, err := a.client.GetMetadata(t.Context(), held)
	if err == nil {
		err = a.client.Delete(t.Context(), held, old.UID)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // it waits, and goes on waiting
		if done, err := a.act(t.Context(), namespace, release.Upgrade); err != nil || done {
			t.Fatalf("upgrade over an object that is being deleted: done %t, error %v", done, err)
		}
	}
	patch(`null`)
	finish(t, a, namespace, release.Upgrade)
	live, err := a.client.GetMetadata(t.Context(), held)
	if err != nil {
		t.Fatal(err)
	}
	if live.UID == old.UID {
		t.Error("the object that was being deleted is still the release's")
	}
	want := []string{"hook-pre-install", "hook-pre-upgrade", "three=2", "two=2"}
	if diff := cmp.Diff(want, objectsIn(t, a, namespace)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}
