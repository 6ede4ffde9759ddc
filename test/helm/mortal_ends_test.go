package helm

import (
	"fmt"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestMortalRemedies kills as TestMortal does: while an install fails whose uninstall fails too, while that is mended, while
// the release is installed again, and while an uninstall keeps its history.
func TestMortalRemedies(t *testing.T) {
	reaper := mortals(t)
	n := newTenant(t, "mortal-remedies", mortalCharts())
	remedied := func(status, reason string) func(*unstructured.Unstructured) bool {
		return func(u *unstructured.Unstructured) bool {
			return settled(u, map[string]string{"Released": "False", "Ready": "False"}, "install 1 upgrade 0") && says("Remediated", status, reason, "")(u)
		}
	}
	gate := func(name string) string { return n.Namespace + "-" + name }
	for _, d := range []death{
		{
			"install whose uninstall fails", func(name string) {
				n.release(name, name, "timeout: 5s\ninstall: {remediation: {remediateLastFailure: true}}\nvalues: {stuck: true, gate: "+gate(name)+"}\n")
			}, remedied("False", "UninstallFailed"), func(n tenant, name string) {
				if h := history(n.t, n.Namespace, name); len(h) != 1 {
					n.t.Errorf("%s: helm history %v, want one revision", name, h)
				}
			},
		},
		{
			"uninstall of an install that failed", func(name string) {
				if err := world.Namespace(within(t), gate(name)); err != nil {
					t.Fatal(err)
				}
				n.patch(releaseKind, name, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"one"}}}`)
			}, all(remedied("True", "UninstallSucceeded"), says("Stalled", "True", "RetriesExceeded", "")), leavesNothing,
		},
		{
			"install after it", func(name string) { n.patch(releaseKind, name, `{"spec":{"timeout":"40s","values":{"stuck":false}}}`) },
			all(says("Ready", "True", "InstallSucceeded", ".v1 "), current), leaves("deployed: Install complete"),
		},
		{
			"uninstall that keeps its history", func(name string) {
				n.patch(releaseKind, name, `{"spec":{"uninstall":{"keepHistory":true}}}`)
				n.uninstall(name)
			}, gone, leaves("uninstalled: Uninstallation complete"),
		},
	} {
		if !t.Run(d.action, func(t *testing.T) { tenant{n.Tenant, t}.dies(reaper, d) }) {
			return // the next begins where this one ends
		}
	}
}

// TestMortalMoves kills as TestMortal does: while a release is taken over that the helm command made, while a revision is made
// anew whose Secret somebody deleted, while one is left for
// another name and for another place of its storage, and while it is uninstalled there.
func TestMortalMoves(t *testing.T) {
	reaper := mortals(t)
	charts := mortalCharts()
	n := newTenant(t, "mortal-moves", charts)
	store := n.Namespace + "-store"
	if err := world.Namespace(within(t), store); err != nil {
		t.Fatal(err)
	}
	renamed := func(name string) string { return name + "-renamed" }
	stored := tenant{n.Tenant, t}
	inStore := *n.Tenant
	inStore.Namespace = store
	stored.Tenant = &inStore
	for _, d := range []death{
		{
			"adoption", func(name string) {
				n.helmInstall(name, charts)
				n.release(name, name, "timeout: 40s\n")
			}, all(says("Ready", "True", "UpgradeSucceeded", ".v2 "), current), leaves("superseded: Install complete", "deployed: Upgrade complete"),
		},
		{
			"upgrade after its revision was deleted", func(name string) {
				if err := n.Delete(within(t), secretKind, "sh.helm.release.v1."+name+".v2"); err != nil {
					t.Fatal(err)
				}
				n.patch(releaseKind, name, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"one"}}}`)
			}, all(says("Ready", "True", "UpgradeSucceeded", ".v2 "), current, func(u *unstructured.Unstructured) bool {
				at, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
				return at == "one"
			}), leaves("superseded: Install complete", "deployed: Upgrade complete"),
		},
		{
			"another name", func(name string) {
				n.patch(releaseKind, name, fmt.Sprintf(`{"spec":{"releaseName":%q}}`, renamed(name)))
			}, all(says("Ready", "True", "InstallSucceeded", "-renamed.v1 "), current), func(n tenant, name string) {
				leavesNothing(n, name)
				leaves("deployed: Install complete")(n, renamed(name))
			},
		},
		{
			"another storage", func(name string) {
				n.patch(releaseKind, name, fmt.Sprintf(`{"spec":{"storageNamespace":%q}}`, store))
			}, func(u *unstructured.Unstructured) bool {
				have, _, _ := unstructured.NestedString(u.Object, "status", "storageNamespace")
				return have == store && current(u) && says("Ready", "True", "InstallSucceeded", "-renamed.v1 ")(u)
			}, func(n tenant, name string) {
				n.unreleased(renamed(name))
				n.await(harness.DeploymentKind, renamed(name), exists)
				leaves("deployed: Install complete")(tenant{stored.Tenant, n.t}, renamed(name))
			},
		},
		{"uninstall", n.uninstall, gone, func(n tenant, name string) {
			tenant{stored.Tenant, n.t}.unreleased(renamed(name))
			n.await(harness.DeploymentKind, renamed(name), gone)
		}},
	} {
		if !t.Run(d.action, func(t *testing.T) { tenant{n.Tenant, t}.dies(reaper, d) }) {
			return // the next begins where this one ends
		}
	}
}

// helmInstall installs a chart as the helm command does.
func (n tenant) helmInstall(name string, files map[string]string) {
	n.t.Helper()
	var chart []*loader.BufferedFile
	for path, body := range files {
		if inside, ok := strings.CutPrefix(path, name+"/"); ok {
			chart = append(chart, &loader.BufferedFile{Name: inside, Data: []byte(body)})
		}
	}
	loaded, err := loader.LoadFiles(chart)
	if err != nil {
		n.t.Fatal(err)
	}
	install := action.NewInstall(sdk(n.t, n.Namespace))
	install.ReleaseName, install.Namespace, install.SkipCRDs, install.DisableHooks = name, n.Namespace, true, true
	if _, err := install.Run(loaded, nil); err != nil {
		n.t.Fatal(err)
	}
}
