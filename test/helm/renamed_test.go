package helm

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// adoptable installs the release app as the helm command does, of the chart moody.
func (n tenant) adoptable() {
	files := map[string]string{}
	for path, body := range moodyChart() {
		files["app"+strings.TrimPrefix(path, "moody")] = body
	}
	n.helmInstall("app", files)
}

// TestRenamed names a release anew while an action of it waits: what it made under the old name goes.
func TestRenamed(t *testing.T) {
	const waiting = "timeout: 1h\nvalues: {stuck: true}\n"
	for _, tt := range []struct {
		why, name string
		begin     func(n tenant)
		running   string
	}{
		{"its first install", "early", func(n tenant) {
			n.release("app", "moody", waiting)
			n.awaitStored(1, "pending-install")
		}, "install"},
		{"the upgrade that takes over what helm made", "adopted", func(n tenant) {
			n.adoptable()
			n.release("app", "moody", waiting)
			n.awaitStored(2, "pending-upgrade")
		}, "upgrade"},
		{"the upgrade of what helm changed", "changed", func(n tenant) {
			n.release("app", "moody", "timeout: 1h\n")
			n.ready("app")
			if err := n.secret("sh.helm.release.v1.app.v2", "deployed", "2", encoded(n.t, map[string]any{
				"name": "app", "namespace": n.Namespace, "version": 2, "info": map[string]any{"status": "deployed"},
				"chart": map[string]any{"metadata": map[string]any{"name": "moody", "version": "1.0.0"}},
			})); err != nil {
				n.t.Fatal(err)
			}
			n.patch(releaseKind, "app", `{"spec":{"values":{"stuck":true}}}`)
			n.awaitStored(3, "pending-upgrade")
			n.await(releaseKind, "app", func(u *unstructured.Unstructured) bool { return !slices.Contains(known(u), 1) })
		}, "upgrade"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newTenant(t, "renamed-"+tt.name, moodyChart())
			tt.begin(n)
			n.await(harness.DeploymentKind, "app", exists)
			n.await(releaseKind, "app", says("Reconciling", "True", "Progressing", "Running '"+tt.running+"' action"))
			n.patch(releaseKind, "app", `{"spec":{"releaseName":"other","values":{"stuck":false}}}`)
			n.ready("app")
			n.leftFor("other", tt.why)
		})
	}
}

// known are the revisions that a status knows.
func known(u *unstructured.Unstructured) (versions []int64) {
	history, _, _ := unstructured.NestedSlice(u.Object, "status", "history")
	for _, s := range history {
		version, _ := s.(map[string]any)["version"].(int64)
		versions = append(versions, version)
	}
	return versions
}

// leftFor finds nothing of the release app any more, which was named anew.
func (n tenant) leftFor(name, why string) {
	n.t.Helper()
	n.await(harness.DeploymentKind, name, exists)
	if n.has(secretKind, "sh.helm.release.v1.app.v1") {
		n.t.Errorf("%s: the history of the release under its old name is left behind", why)
	}
	n.await(harness.DeploymentKind, "app", gone)
}

// TestRenamedAndSuspended suspends a release and names it anew in one write, in the middle of the upgrade that takes it over.
// The upgrade ends; what it made is left for the new name when the release is resumed.
func TestRenamedAndSuspended(t *testing.T) {
	n := newTenant(t, "renamed-suspended", moodyChart())
	n.adoptable()
	n.apply(strings.ReplaceAll(hook("app-pre", "pre-upgrade", "0", "before-hook-creation", completing), "name: app-pre", "name: app-pre\n  finalizers: [example.com/hold]"))
	n.release("app", "moody", "timeout: 1h\n")
	n.await(jobKind, "app-pre", func(u *unstructured.Unstructured) bool { return u.GetDeletionTimestamp() != nil })
	n.await(releaseKind, "app", says("Reconciling", "True", "Progressing", "Running 'upgrade' action"))
	n.patch(releaseKind, "app", `{"spec":{"suspend":true,"releaseName":"other"}}`)
	n.patch(jobKind, "app-pre", `{"metadata":{"finalizers":null}}`)
	n.await(releaseKind, "app", says("Released", "True", "UpgradeSucceeded", "app.v2"))
	n.patch(releaseKind, "app", `{"spec":{"suspend":false}}`)
	n.ready("app")
	n.leftFor("other", "resumed")
}

// TestMovedWithoutAccount names a release anew together with a service account that is made later: with that the release is
// left under its old name.
func TestMovedWithoutAccount(t *testing.T) {
	n := newTenant(t, "moved-account", webChart())
	n.account("first", true)
	n.release("app", "web", "serviceAccountName: first\n")
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"serviceAccountName":"later","releaseName":"other"}}`)
	n.await(releaseKind, "app", says("Ready", "False", "", "system:serviceaccount:"+n.Namespace+":later"))
	n.account("later", true)
	n.request("app", "one")
	n.ready("app")
	n.leftFor("other", "moved")
}
