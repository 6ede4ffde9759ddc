package helm

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestRemedies is the reference's table of releases that fail: what the conditions, the
// counters and helm's history say when nothing more is tried.
func TestRemedies(t *testing.T) {
	n := newTenant(t, "remedies", moodyChart())
	const (
		stuck    = "values: {stuck: true}\n"
		failTest = "values: {failTest: true}\n"
		tests    = "test: {enable: true}\n"
	)
	for _, tt := range []struct {
		why, name string
		// first is applied and Ready before spec is, unless it is empty.
		first, spec string
		// conditions begin with "<status> <reason>: <message>"; * is any text.
		conditions map[string]string
		failures   string
		history    []string
	}{
		{
			"a release that does not get ready fails, and that is all", "install-fail", "", stuck,
			map[string]string{
				"Released": "False InstallFailed: Helm install failed for release NS/install-fail with chart moody@1.0.0+*: *Deployment/NS/install-fail*",
				"Ready":    "False InstallFailed: Helm install failed", "Stalled": "True RetriesExceeded: Failed to install after 1 attempt(s)",
			}, "install 1 upgrade 0", []string{"failed"},
		},
		{
			"the last failure is remedied when that is asked for", "install-fail-remediate", "",
			stuck + "install: {remediation: {remediateLastFailure: true}}\nuninstall: {keepHistory: true}\n",
			map[string]string{
				"Released":   "False InstallFailed",
				"Remediated": "True UninstallSucceeded: Helm uninstall remediation for release NS/install-fail-remediate.v1 with chart moody@1.0.0+* succeeded",
				"Ready":      "False UninstallSucceeded: Helm uninstall remediation",
			}, "install 1 upgrade 0", []string{"uninstalled"},
		},
		{
			"a retry is a fresh install", "install-fail-retry", "", stuck + "install: {remediation: {retries: 1}}\n",
			map[string]string{
				"Released": "False InstallFailed", "Ready": "False InstallFailed", "Stalled": "True RetriesExceeded: Failed to install after 2 attempt(s)",
			}, "install 2 upgrade 0", []string{"failed"},
		},
		{
			"an upgrade that does not get ready", "upgrade-fail", "values: {}\n", stuck,
			map[string]string{
				"Released": "False UpgradeFailed: Helm upgrade failed for release NS/upgrade-fail with chart moody@1.0.0+*",
				"Ready":    "False UpgradeFailed", "Stalled": "True RetriesExceeded: Failed to upgrade after 1 attempt(s)",
			}, "install 0 upgrade 1", []string{"deployed", "failed"},
		},
		{
			"it is rolled back", "upgrade-fail-remediate", "values: {}\n", stuck + "upgrade: {remediation: {remediateLastFailure: true}}\n",
			map[string]string{
				"Released":   "False UpgradeFailed",
				"Remediated": "True RollbackSucceeded: Helm rollback to previous release NS/upgrade-fail-remediate.v1 with chart moody@1.0.0+* succeeded",
				"Ready":      "False RollbackSucceeded: Helm rollback",
			}, "install 0 upgrade 1",
			[]string{"superseded", "failed", "deployed: Rollback to 1"},
		},
		{
			"and tried again, and rolled back again", "upgrade-fail-retry", "values: {}\n", stuck + "upgrade: {remediation: {retries: 1}}\n",
			map[string]string{"Released": "False UpgradeFailed", "Remediated": "True RollbackSucceeded", "Ready": "False RollbackSucceeded"}, "install 0 upgrade 2",
			[]string{"superseded", "failed", "superseded: Rollback to 1", "failed", "deployed: Rollback to 3"},
		},
		{
			"it is uninstalled, and the install that follows fails as well", "upgrade-fail-uninstall", "values: {}\n",
			stuck + "upgrade: {remediation: {remediateLastFailure: true, strategy: uninstall}}\n",
			map[string]string{"Released": "False InstallFailed", "Ready": "False InstallFailed"}, "install 1 upgrade 1", []string{"failed"},
		},
		{
			"a test that fails", "install-test-fail", "", failTest + tests,
			map[string]string{
				"Released":    "True InstallSucceeded",
				"TestSuccess": "False TestFailed: Helm test failed for release NS/install-test-fail.v1 with chart moody@1.0.0+*: *",
				"Ready":       "False TestFailed: Helm test failed",
			}, "install 1 upgrade 0", []string{"deployed"},
		},
		{
			"it is remedied like a release that fails", "install-test-fail-remediate", "",
			failTest + tests + "install: {remediation: {retries: 1, remediateLastFailure: true}}\nuninstall: {keepHistory: true}\n",
			map[string]string{
				"Released": "True InstallSucceeded", "TestSuccess": "False TestFailed", "Remediated": "True UninstallSucceeded", "Ready": "False UninstallSucceeded",
				"Stalled": "True RetriesExceeded",
			}, "install 2 upgrade 0",
			[]string{"uninstalled", "uninstalled"},
		},
		{
			"a test that fails and does not matter", "install-test-fail-ignore", "", failTest + "test: {enable: true, ignoreFailures: true}\n",
			map[string]string{"Released": "True InstallSucceeded", "TestSuccess": "False TestFailed", "Ready": "True InstallSucceeded"}, "install 0 upgrade 0", []string{"deployed"},
		},
		{
			"the same, said of the install alone", "install-test-fail-ignored-by-install", "", failTest + tests + "install: {remediation: {ignoreTestFailures: true}}\n",
			map[string]string{"Released": "True InstallSucceeded", "TestSuccess": "False TestFailed", "Ready": "True InstallSucceeded"}, "install 0 upgrade 0", []string{"deployed"},
		},
		{
			"a test that fails after an upgrade", "upgrade-test-fail", "values: {}\n" + tests, failTest + tests,
			map[string]string{
				"Released": "True UpgradeSucceeded", "TestSuccess": "False TestFailed", "Ready": "False TestFailed", "Stalled": "True RetriesExceeded",
			}, "install 0 upgrade 1",
			[]string{"superseded", "deployed"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := tenant{n.Tenant, t}
			if tt.first != "" {
				n.release(tt.name, "moody", tt.first)
				n.ready(tt.name)
			}
			n.release(tt.name, "moody", "timeout: 3s\n"+tt.spec)
			for kind, text := range tt.conditions {
				tt.conditions[kind] = strings.ReplaceAll(text, "NS", n.Namespace)
			}
			n.await(releaseKind, tt.name, func(u *unstructured.Unstructured) bool {
				return settled(u, tt.conditions, tt.failures) && current(u)
			})
			if diff := cmp.Diff(tt.history, outline(history(t, n.Namespace, tt.name), tt.history)); diff != "" {
				t.Errorf("%s: helm history (-want +got):\n%s", tt.why, diff)
			}
		})
	}
}

// twelve makes twelve revisions of the release app, all of them deployed, and all but the first with tests that failed.
func (n tenant) twelve() {
	n.t.Helper()
	n.release("app", "moody", "maxHistory: 0\ntest: {enable: true}\nvalues: {value: first}\n")
	n.ready("app")
	for i := 2; i <= 12; i++ {
		n.patch(releaseKind, "app", fmt.Sprintf(`{"spec":{"values":{"value":"v%d","failTest":true}}}`, i))
		n.await(releaseKind, "app", all(says("Stalled", "True", "", ""), says("TestSuccess", "False", "", fmt.Sprintf("app.v%d ", i)), current))
	}
}

// goBack fails once more, and is remedied by going back to the first revision.
const goBack = `{"spec":{"upgrade":{"remediation":{"remediateLastFailure":true}},"values":{"value":"v13"}}}`

// TestFarBack rolls back to a revision that more than ten others came after.
func TestFarBack(t *testing.T) {
	n := newTenant(t, "far-back", moodyChart())
	n.twelve()
	n.patch(releaseKind, "app", goBack)
	n.await(releaseKind, "app", func(u *unstructured.Unstructured) bool {
		return current(u) && settled(u, map[string]string{"TestSuccess": "False", "Remediated": "True", "Ready": "False"}, "install 0 upgrade 1")
	})
	n.await(harness.ConfigMapKind, "app", holds("value", "first"))
	if h := history(t, n.Namespace, "app"); len(h) != 14 || h[13] != "deployed: Rollback to 1" {
		t.Errorf("helm history: %v", h)
	}
}

// TestTwins plants Secrets that say they are the revision to go back to. It is not gone back to what nobody has read, which
// would take away all objects.
func TestTwins(t *testing.T) {
	n := newTenant(t, "twins", moodyChart())
	n.twelve()
	secrets := kubernetes.NewForConfigOrDie(world.REST).CoreV1().Secrets(n.Namespace)
	for _, name := range []string{"a", "b"} { // read before Helm's
		_, err := secrets.Create(within(t), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"owner": "helm", "name": "app", "status": "superseded", "version": "1"}},
			Type:       "helm.sh/release.v1", Data: map[string][]byte{"release": encoded(t, map[string]any{
				"name": "app", "namespace": n.Namespace, "version": 1, "info": map[string]any{"status": "superseded"},
				"chart": map[string]any{"metadata": map[string]any{"name": "moody", "version": "1.0.0"}},
			})},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	n.patch(releaseKind, "app", goBack)
	n.await(releaseKind, "app", says("Ready", "False", "", "more than one Secret says that it is revision 1"))
	n.await(harness.ConfigMapKind, "app", holds("value", "v13"))
}

// TestRollbackFails has a rollback fail by its hook: the release is not as it was before, and that is said.
func TestRollbackFails(t *testing.T) {
	files := moodyChart()
	files["moody/templates/back.yaml"] = hook("{{ .Release.Name }}-back", "pre-rollback", "0", "before-hook-creation",
		"activeDeadlineSeconds: 1, template: {spec: "+nowhere+"}")
	n := newTenant(t, "rollback-fails", files)
	n.release("app", "moody", "timeout: 3s\nupgrade: {remediation: {remediateLastFailure: true}}\n")
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"values":{"stuck":true}}}`)
	conditions := map[string]string{
		"Released":   "False UpgradeFailed",
		"Remediated": "False RollbackFailed: Helm rollback to previous release " + n.Namespace + "/app.v1 with chart moody@1.0.0+* failed: *",
		"Ready":      "False RollbackFailed",
	}
	n.await(releaseKind, "app", func(u *unstructured.Unstructured) bool { return settled(u, conditions, "install 0 upgrade 1") })
	n.told("app", "Warning", "RollbackFailed", "Helm rollback to previous release "+n.Namespace+"/app.v1")
}

// outline leaves descriptions out of a history where what is wanted has none.
func outline(history, want []string) []string {
	var have []string
	for i, line := range history {
		status, _, _ := strings.Cut(line, ": ")
		if i < len(want) && strings.Contains(want[i], ": ") {
			status = line
		}
		have = append(have, status)
	}
	return have
}

func settled(u *unstructured.Unstructured, conditions map[string]string, failures string) bool {
	for kind, want := range conditions {
		status, reason, message := harness.Condition(u, kind)
		pattern := "(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(want), `\*`, ".*")
		if !regexp.MustCompile(pattern).MatchString(status + " " + reason + ": " + message) {
			return false
		}
	}
	install, _, _ := unstructured.NestedInt64(u.Object, "status", "installFailures")
	upgrade, _, _ := unstructured.NestedInt64(u.Object, "status", "upgradeFailures")
	return fmt.Sprintf("install %d upgrade %d", install, upgrade) == failures
}
