package release_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	helmrelease "helm.sh/helm/v3/pkg/release"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// TestImpossibleNames fails an upgrade at once that has objects with names that no object can have, as those of a template whose
// value is missing. It holds up neither the upgrade after it nor the uninstall.
func TestImpossibleNames(t *testing.T) {
	for name, metadata := range map[string]string{
		"none": `{}`, "empty": `{name: ""}`, "path": `{name: ../configmaps/one}`, "slash": `{name: a/b}`, "namespace": `{name: a, namespace: ../kube-system}`,
	} {
		t.Run(name, func(t *testing.T) {
			namespace := "impossible-" + name
			makeNamespace(t, namespace)
			a := newApplier(t, namespace, 1<<40)
			a.runs(t, release.Install, revision(namespace, 1, "one"), "")
			bad := revision(namespace, 2, "one", "two")
			bad.Manifest += "---\n# Source: c\napiVersion: v1\nkind: ConfigMap\nmetadata: " + metadata + "\n"
			a.runs(t, release.Upgrade, bad, "ConfigMap/")
			a.runs(t, release.Upgrade, revision(namespace, 3, "one"), "")
			if diff := cmp.Diff([]string{"one=3"}, objectsIn(t, a, namespace)); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			again := revision(namespace, 4, "one")
			again.Manifest = bad.Manifest
			a.runs(t, release.Upgrade, again, "ConfigMap/")
			a.runs(t, release.Uninstall, nil, "")
			if diff := cmp.Diff([]string(nil), objectsIn(t, a, namespace)); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNamesAreNoPaths looks for an object by a name that leads to another one.
func TestNamesAreNoPaths(t *testing.T) {
	const namespace = "no-paths"
	makeNamespace(t, namespace)
	a := newApplier(t, namespace, 1<<40)
	a.runs(t, release.Install, revision(namespace, 1, "one"), "")
	for _, r := range []cluster.Ref{
		{Version: "v1", Kind: "Secret", Namespace: namespace, Name: "../configmaps/one"},
		{Version: "v1", Kind: "Secret", Namespace: namespace + "/configmaps/one/..", Name: ""},
		{Version: "v1", Kind: "Secret", Namespace: namespace, Name: ""},
	} {
		if _, err := a.client.Get(t.Context(), r); !cluster.IsGone(err) {
			t.Errorf("%s: error %v, want that there is none", r, err)
		}
	}
	if _, err := a.client.List(t.Context(), cluster.Ref{Version: "v1", Kind: "Secret", Namespace: namespace + "/configmaps/.."}, 1<<20); !cluster.IsGone(err) {
		t.Errorf("list: error %v, want that there is none", err)
	}
}

// runs has an action that has no hooks succeed, or fail for a reason, in one pass; an uninstall is of the newest revision.
func (a applier) runs(t *testing.T, action string, r *helmstore.Record, why string) {
	t.Helper()
	all, err := a.store.List(t.Context(), appName)
	if err != nil {
		t.Fatal(err)
	}
	if action == release.Uninstall {
		r = all[len(all)-1]
	} else {
		all = append(all, r)
	}
	r.Hooks = []*helmrelease.Hook{}
	runner := release.Runner{Client: a.client, Store: a.store, Options: release.Options{Timeout: time.Minute, DisableWait: true}}
	if err := runner.Begin(t.Context(), r, helmstore.Run{Action: action, UID: "uid"}); err != nil {
		t.Fatal(err)
	}
	progress, err := runner.Step(t.Context(), r, all)
	var failed *release.FailedError
	if why == "" && (err != nil || !progress.Done) {
		t.Fatalf("%s: %+v, error %v", action, progress, err)
	}
	if why != "" && (!errors.As(err, &failed) || !strings.Contains(err.Error(), why)) {
		t.Fatalf("%s: %+v, error %v, want a failure for %q", action, progress, err, why)
	}
}
