package helm

import (
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestTakenName says which Secret has the name under which a revision is to be stored, and is none itself.
func TestTakenName(t *testing.T) {
	const secret = "sh.helm.release.v1.app.v1"
	n := newTenant(t, "taken", webChart())
	n.release("app", "web", "")
	n.ready("app")
	n.patch(secretKind, secret, `{"metadata":{"labels":{"version":null}}}`)
	n.patch(releaseKind, "app", `{"spec":{"values":{"message":"two"}}}`)
	n.await(releaseKind, "app", all(says("Ready", "False", "InstallFailed", "Secret "+n.Namespace+"/"+secret), says("Released", "False", "InstallFailed", "version=1")))
	n.patch(secretKind, secret, `{"metadata":{"labels":{"version":"1"}}}`)
	n.request("app", "one")
	n.ready("app")
	n.await(releaseKind, "app", says("Ready", "True", "UpgradeSucceeded", "app.v2 "))
}

// TestLastingStepError says why an action does not end: the Secret of the revision before may not be changed. The action
// goes on once that is mended.
func TestLastingStepError(t *testing.T) {
	const secret = "sh.helm.release.v1.app.v1"
	n := newTenant(t, "lasting", webChart())
	n.release("app", "web", "")
	n.ready("app")
	n.patch(secretKind, secret, `{"immutable":true}`)
	n.patch(releaseKind, "app", `{"spec":{"values":{"message":"two"}}}`)
	n.await(releaseKind, "app", all(says("Ready", "False", "FactoryError", secret), says("Reconciling", "True", "Progressing", "immutable")))
	if err := n.Delete(within(t), secretKind, secret); err != nil {
		t.Fatal(err)
	}
	n.request("app", "one")
	n.ready("app")
	n.await(releaseKind, "app", says("Ready", "True", "UpgradeSucceeded", "app.v2 "))
}

// TestLastingUninstallError says why a release whose HelmRelease is deleted stays: its account may not write the Secret of its
// revision, and then not delete it. The uninstall goes on once that is mended.
func TestLastingUninstallError(t *testing.T) {
	n := newTenant(t, "lasting-uninstall", webChart())
	n.rights("[get, list, create, update, delete]")
	n.release("app", "web", "serviceAccountName: some\n")
	n.ready("app")
	n.rights("[get, list]")
	n.uninstall("app")
	n.await(releaseKind, "app", all(says("Ready", "False", "UninstallFailed", "the uninstall action cannot go on: "), says("Ready", "False", "", "cannot update resource")))
	n.told("app", "Warning", "UninstallFailed", "cannot update resource")
	n.await(harness.ConfigMapKind, "app", exists)
	n.rights("[get, list, update]")
	n.request("app", "one")
	n.await(releaseKind, "app", says("Ready", "False", "UninstallFailed", "cannot delete resource"))
	n.told("app", "Warning", "UninstallFailed", "cannot delete resource")
	n.rights("[get, list, update, delete]")
	n.patch(releaseKind, "app", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"two"}}}`)
	n.await(releaseKind, "app", gone)
	n.unreleased("app")
	n.await(harness.ConfigMapKind, "app", gone)
}

// TestLastingSupersedeError says why an upgrade that something newer is to take the place of does not end.
func TestLastingSupersedeError(t *testing.T) {
	n := newTenant(t, "lasting-supersede", moodyChart())
	n.rights("[get, list, create, update, delete]")
	n.release("app", "moody", "serviceAccountName: some\n")
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"values":{"stuck":true}}}`)
	n.await(secretKind, "sh.helm.release.v1.app.v2", func(u *unstructured.Unstructured) bool {
		return u != nil && strings.Contains(u.GetAnnotations()["sluice.dev/run"], `"phase":"wait"`)
	})
	n.rights("[get, list]")
	n.patch(releaseKind, "app", `{"spec":{"values":{"stuck":false,"value":"b"}}}`)
	n.await(releaseKind, "app", says("Ready", "False", "FactoryError", "cannot update resource"))
	n.told("app", "Warning", "FactoryError", "the upgrade action cannot go on: ")
	n.rights("[get, list, create, update, delete]")
	n.request("app", "one")
	n.ready("app")
	n.await(releaseKind, "app", says("Ready", "True", "UpgradeSucceeded", "app.v3 "))
}

// TestLastingUnlockError says why a release that somebody left pending is not freed.
func TestLastingUnlockError(t *testing.T) {
	n := newTenant(t, "lasting-unlock", webChart())
	install := action.NewInstall(sdk(t, n.Namespace))
	install.ReleaseName, install.Namespace = "web", n.Namespace
	made, err := install.Run(chartOfFiles(t, webChart()), nil)
	if err == nil {
		made.Info.Status = helmrelease.StatusPendingUpgrade
		err = sdk(t, n.Namespace).Releases.Update(made)
	}
	if err != nil {
		t.Fatal(err)
	}
	n.rights("[get, list, create, delete]")
	n.release("web", "web", "serviceAccountName: some\n")
	n.await(releaseKind, "web", says("Ready", "False", "FactoryError", "cannot update resource"))
	n.told("web", "Warning", "FactoryError", "cannot update resource")
	n.rights("[get, list, create, update, delete]")
	n.request("web", "one")
	n.ready("web")
}

// rights are those of a service account over the Secrets of releases; over the rest of what charts have it has all.
func (n tenant) rights(secrets string) {
	n.t.Helper()
	n.apply(`apiVersion: v1
kind: ServiceAccount
metadata: {name: some}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: some}
rules:
- {apiGroups: ["", apps, batch], resources: [configmaps, deployments, jobs, replicasets, pods], verbs: ["*"]}
- {apiGroups: [""], resources: [secrets], verbs: ` + secrets + `}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: some}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: some}
subjects: [{kind: ServiceAccount, name: some}]
`)
}
