package release_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	helmrelease "helm.sh/helm/v3/pkg/release"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

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

// TestForbiddenLeftovers upgrades after an upgrade that failed for an object which the account may not even look at.
func TestForbiddenLeftovers(t *testing.T) {
	const namespace = "forbidden-leftovers"
	makeNamespace(t, namespace)
	a := confined(t, namespace)
	a.runs(t, release.Install, revision(namespace, 1, "one"), "")
	bad := revision(namespace, 2, "one", "two")
	bad.Manifest += "---\n# Source: c\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: elsewhere, namespace: default}\n"
	a.runs(t, release.Upgrade, bad, "forbidden")
	a.runs(t, release.Upgrade, revision(namespace, 3, "one"), "")
	if diff := cmp.Diff([]string{"one=3"}, objectsIn(t, a, namespace)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// TestUninstallGoesOn uninstalls a release one of whose objects the account may not delete: that fails, and the others are gone.
func TestUninstallGoesOn(t *testing.T) {
	const namespace = "uninstall-goes-on"
	makeNamespace(t, namespace)
	r := revision(namespace, 1, "one", "two")
	r.Manifest += "---\n# Source: c\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + namespace + ", namespace: default}\n" +
		"spec: {replicas: 0, selector: {matchLabels: {app: b}}, template: {metadata: {labels: {app: b}}, spec: {containers: [{name: a, image: example.com/a}]}}}\n"
	newApplier(t, namespace, 1<<40).runs(t, release.Install, r, "")
	a := confined(t, namespace)
	a.runs(t, release.Uninstall, nil, "forbidden")
	if diff := cmp.Diff([]string(nil), objectsIn(t, a, namespace)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	newApplier(t, namespace, 1<<40).runs(t, release.Uninstall, nil, "")
}

// TestUnreadableLeftovers upgrades after an upgrade that failed because its manifest could not be read.
func TestUnreadableLeftovers(t *testing.T) {
	const namespace = "unreadable-leftovers"
	makeNamespace(t, namespace)
	a := newApplier(t, namespace, 1<<40)
	a.runs(t, release.Install, revision(namespace, 1, "one"), "")
	bad := revision(namespace, 2, "one")
	bad.Manifest += "---\n# Source: c\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: large}\ndata: {a: \"" + strings.Repeat("[", 1<<19) + "\"}\n"
	a.runs(t, release.Upgrade, bad, "too large to be read")
	a.runs(t, release.Upgrade, revision(namespace, 3, "one"), "")
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

// confined is an applier with all rights in a namespace and none elsewhere.
func confined(t *testing.T, namespace string) applier {
	t.Helper()
	set := kubernetes.NewForConfigOrDie(server)
	_, err := set.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "some"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "some", Namespace: namespace}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := newApplier(t, namespace, 1<<40)
	if a.client, err = a.client.Cluster().As(namespace, "some"); err != nil {
		t.Fatal(err)
	}
	a.store = helmstore.New(a.client.Secrets(namespace), namespace, ring(t, keyring), owner)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for { // until the API server knows of the rights
		_, err := a.store.List(ctx, appName)
		if err == nil {
			return a
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}
