package helm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/action"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestAdoption takes over a release that helm made, without making anything anew, and one that
// helm left pending.
func TestAdoption(t *testing.T) {
	n := newTenant(t, "adopt", webChart())
	loaded := chartOfFiles(t, webChart())
	names := []string{"whole", "pending-install", "pending-upgrade", "pending-rollback"}
	for _, name := range names {
		install := action.NewInstall(sdk(t, n.Namespace))
		install.ReleaseName, install.Namespace = name, n.Namespace
		made, err := install.Run(loaded, map[string]any{"message": "helm"})
		if err != nil {
			t.Fatal(err)
		}
		if name != "whole" { // as after helm was killed
			made.Info.Status = helmrelease.Status(name)
			if err := sdk(t, n.Namespace).Releases.Update(made); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range names {
		uid := n.await(harness.DeploymentKind, name, func(u *unstructured.Unstructured) bool { return u != nil }).GetUID()
		n.release(name, "web", "values: {message: sluice}\n")
		n.ready(name)
		n.await(harness.ConfigMapKind, name, holds("message", "sluice"))
		if now := n.await(harness.DeploymentKind, name, func(u *unstructured.Unstructured) bool { return u != nil }).GetUID(); now != uid {
			t.Errorf("%s: the Deployment was made anew", name)
		}
		if name == "whole" {
			continue
		}
		n.told(name, "Warning", "PendingRelease", "Unlocked Helm release "+n.Namespace+"/"+name+".v1 with chart web@0.1.0 in "+name+" state")
		want := []string{"failed: Release unlocked from stale '" + name + "' state", "deployed: Upgrade complete"}
		if diff := cmp.Diff(want, history(t, n.Namespace, name)); diff != "" {
			t.Errorf("%s: helm history (-want +got):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff([]string{"superseded: Install complete", "deployed: Upgrade complete"}, history(t, n.Namespace, "whole")); diff != "" {
		t.Errorf("helm history (-want +got):\n%s", diff)
	}

	// And helm rolls back what Sluice made, which then takes it over again.
	rollback := action.NewRollback(sdk(t, n.Namespace))
	rollback.Version = 1
	if err := rollback.Run("whole"); err != nil {
		t.Fatal(err)
	}
	n.await(harness.ConfigMapKind, "whole", holds("message", "helm"))
	n.patch(releaseKind, "whole", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`)
	n.await(harness.ConfigMapKind, "whole", holds("message", "sluice"))
}

// TestOutside has the helm command, or somebody's hand, change releases: what is wanted comes back at the next pass.
func TestOutside(t *testing.T) {
	n := newTenant(t, "outside", webChart())
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, name string) error
		want []string
	}{
		{"deleted", func(t *testing.T, name string) error {
			_, err := action.NewUninstall(sdk(t, n.Namespace)).Run(name)
			return err
		}, []string{"deployed: Install complete"}},
		{"upgraded", func(t *testing.T, name string) error {
			upgrade := action.NewUpgrade(sdk(t, n.Namespace))
			upgrade.Namespace = n.Namespace
			_, err := upgrade.Run(name, chartOfFiles(t, webChart()), map[string]any{"message": "helm"})
			return err
		}, []string{"superseded: Install complete", "superseded: Upgrade complete", "superseded: Upgrade complete", "deployed: Upgrade complete"}},
		{"partly-deleted", func(t *testing.T, name string) error {
			return n.Delete(within(t), secretKind, "sh.helm.release.v1."+name+".v2")
		}, []string{"superseded: Install complete", "deployed: Upgrade complete"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := tenant{n.Tenant, t}
			n.release(tt.name, "web", "values: {message: first}\n")
			n.ready(tt.name)
			n.patch(releaseKind, tt.name, `{"spec":{"values":{"message":"sluice"}}}`)
			n.ready(tt.name)
			if err := tt.do(t, tt.name); err != nil {
				t.Fatal(err)
			}
			n.request(tt.name, "one")
			n.ready(tt.name)
			n.await(harness.ConfigMapKind, tt.name, holds("message", "sluice"))
			if diff := cmp.Diff(tt.want, history(t, n.Namespace, tt.name)); diff != "" {
				t.Errorf("helm history (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNoRollbackTarget ends the tries of an upgrade that fails and has nothing to go back to: the release before it
// was helm's, of which the status knows nothing.
func TestNoRollbackTarget(t *testing.T) {
	n := newTenant(t, "no-target", moodyChart())
	install := action.NewInstall(sdk(t, n.Namespace))
	install.ReleaseName, install.Namespace, install.DisableHooks = "app", n.Namespace, true
	if _, err := install.Run(chartOfFiles(t, moodyChart()), nil); err != nil {
		t.Fatal(err)
	}
	n.release("app", "moody", "timeout: 3s\nvalues: {stuck: true}\nupgrade: {remediation: {retries: 1}}\n")
	n.await(releaseKind, "app", all(says("Stalled", "True", "MissingRollbackTarget", "missing target release for rollback"),
		says("Ready", "False", "UpgradeFailed", ""), says("Released", "False", "UpgradeFailed", ""), current))
	n.told("app", "Warning", "MissingRollbackTarget", "missing target release for rollback")
}

// TestUncorrectedDrift tells that drift is not put back for want of a right, and puts it back once that is there.
func TestUncorrectedDrift(t *testing.T) {
	n := newTenant(t, "uncorrected", webChart())
	rights := func(configMaps string) {
		n.apply(strings.ReplaceAll(`apiVersion: v1
kind: ServiceAccount
metadata: {name: some}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: some}
rules:
- {apiGroups: ["", apps], resources: [secrets, deployments, replicasets, pods], verbs: ["*"]}
- {apiGroups: [""], resources: [configmaps], verbs: VERBS}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: some}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: some}
subjects: [{kind: ServiceAccount, name: some}]
`, "VERBS", configMaps))
	}
	rights(`["*"]`)
	n.release("web", "web", "serviceAccountName: some\nvalues: {extra: true}\ndriftDetection: {mode: enabled}\n")
	n.ready("web")
	rights("[get, list, watch, patch, update]")
	if err := n.Delete(within(t), harness.ConfigMapKind, "web-extra"); err != nil {
		t.Fatal(err)
	}
	n.request("web", "one")
	n.told("web", "Warning", "DriftCorrectionFailed", "Failed to correct cluster state of release "+n.Namespace+"/web.v1: ")
	n.await(releaseKind, "web", says("Drifted", "True", "DriftDetected", "ConfigMap/"+n.Namespace+"/web-extra removed"))
	rights(`["*"]`)
	n.request("web", "two")
	n.await(harness.ConfigMapKind, "web-extra", exists)
	n.await(releaseKind, "web", says("Drifted", "False", "NoDriftDetected", ""))
}
