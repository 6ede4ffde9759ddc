package release_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// TestTwice has an object in a manifest twice: it is as the last one says, and does not differ from itself.
func TestTwice(t *testing.T) {
	const namespace = "twice"
	makeNamespace(t, namespace)
	a := newApplier(t, namespace, 1<<40)
	r := revision(namespace, 1, "one", "two", "three")
	r.Manifest += "---\n# Source: c\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: " + namespace + "}\ndata: {version: last}\n"
	a.runs(t, release.Install, r, "")
	if diff := cmp.Diff([]string{"one=last", "three=1", "two=1"}, objectsIn(t, a, namespace)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	runner := release.Runner{Client: a.client, Store: a.store, Options: release.Options{Timeout: time.Minute}}
	found, _, err := runner.Drift(t.Context(), r, true)
	if err != nil || len(found) > 0 {
		t.Errorf("drift %v, error %v", found, err)
	}
	objects, err := runner.Objects(r)
	if err != nil || len(objects) != 4 {
		t.Errorf("%d objects, error %v, want 4", len(objects), err)
	}
}
