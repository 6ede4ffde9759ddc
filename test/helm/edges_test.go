package helm

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestEditedStorage upgrades a release whose Secret somebody edited, as one that is not known.
func TestEditedStorage(t *testing.T) {
	n := newTenant(t, "edited", webChart())
	n.release("web", "web", "")
	n.ready("web")
	n.patch(secretKind, "sh.helm.release.v1.web.v1", `{"metadata":{"labels":{"by":"hand"}}}`)
	n.request("web", "one")
	want := []string{"superseded: Install complete", "deployed: Upgrade complete"}
	if diff := cmp.Diff(want, history(t, n.Namespace, "web")); diff != "" {
		t.Errorf("helm history (-want +got):\n%s", diff)
	}
}

// TestMetadataBackAgain takes metadata back while an upgrade to it is in a hook, which has to end first.
func TestMetadataBackAgain(t *testing.T) {
	files := webChart()
	for _, name := range []string{"a", "b"} {
		files["web/templates/hook-"+name+".yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-hook-" + name +
			", annotations: {helm.sh/hook: \"pre-install,pre-upgrade\"}}\ndata: {a: b}\n"
	}
	n := newTenant(t, "back-again", files)
	n.release("web", "web", "")
	n.ready("web")
	n.patch(harness.ConfigMapKind, "web-hook-b", `{"metadata":{"finalizers":["example.com/hold"]}}`)
	n.patch(releaseKind, "web", `{"spec":{"commonMetadata":{"labels":{"team":"red"}}}}`)
	n.await(harness.ConfigMapKind, "web-hook-b", func(u *unstructured.Unstructured) bool { return u.GetDeletionTimestamp() != nil })
	n.await(releaseKind, "web", says("Reconciling", "True", "Progressing", "Running 'upgrade' action"))
	n.patch(releaseKind, "web", `{"spec":{"commonMetadata":null}}`)
	n.patch(harness.ConfigMapKind, "web-hook-b", `{"metadata":{"finalizers":null}}`)
	n.ready("web")
	n.await(harness.ConfigMapKind, "web", func(u *unstructured.Unstructured) bool {
		if team := u.GetLabels()["team"]; team != "" {
			t.Errorf("the ConfigMap of a ready release is labelled %q, which the spec does not have any more", team)
		}
		return true
	})
}

// TestTooLarge says that a release does not fit into a Secret.
func TestTooLarge(t *testing.T) {
	n := newTenant(t, "too-large", webChart())
	n.release("web", "web", "")
	n.ready("web")
	large := make([]byte, 500<<10)
	_, _ = rand.Read(large)
	n.patch(releaseKind, "web", `{"spec":{"values":{"message":"`+base64.StdEncoding.EncodeToString(large)+`"}}}`)
	n.await(releaseKind, "web", all(says("Ready", "False", "UpgradeFailed", "sh.helm.release.v1.web.v2"), says("Released", "False", "UpgradeFailed", "")))
	n.patch(releaseKind, "web", `{"spec":{"values":{"message":"small"}}}`)
	n.ready("web")
	n.await(harness.ConfigMapKind, "web", holds("message", "small"))
}

// TestKeepPolicy leaves what asks to be kept, as Helm reads that, when it is in the chart no more and when the release goes.
func TestKeepPolicy(t *testing.T) {
	files := webChart()
	policies := map[string]string{"lower": "keep", "upper": "Keep", "spaced": `" keep "`}
	for name, policy := range policies {
		config := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept-" + name + ", annotations: {helm.sh/resource-policy: " + policy + "}}\n"
		files["web/templates/"+name+".yaml"] = config
		files["web/templates/extra-"+name+".yaml"] = "{{ if .Values.extra }}\n" + strings.Replace(config, "kept-", "extra-", 1) + "{{ end }}\n"
	}
	n := newTenant(t, "keep", files)
	n.release("app", "web", "values: {extra: true}\n")
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"values":{"extra":false}}}`)
	n.await(releaseKind, "app", all(says("Ready", "True", "UpgradeSucceeded", ""), current))
	n.await(harness.ConfigMapKind, "app-extra", gone)
	if err := n.Delete(within(t), releaseKind, "app"); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "app", gone)
	for name, policy := range policies {
		for _, object := range []string{"kept-" + name, "extra-" + name} {
			if !n.has(harness.ConfigMapKind, object) {
				t.Errorf("ConfigMap %s of policy %s was deleted", object, policy)
			}
		}
	}
}

// TestHookLeftover fails an upgrade by the name of what its hook left the last time and may not delete: the hook cannot run.
func TestHookLeftover(t *testing.T) {
	files := webChart()
	files["web/templates/migrate.yaml"] = hook("migrate", "pre-install,pre-upgrade", "0", "hook-failed", completing)
	n := newTenant(t, "hook-leftover", files)
	n.release("app", "web", "")
	n.ready("app")
	before := n.await(jobKind, "migrate", exists)
	n.patch(releaseKind, "app", `{"spec":{"values":{"message":"two"}}}`)
	n.await(releaseKind, "app", says("Released", "False", "UpgradeFailed",
		"failed pre-upgrade: hook web/templates/migrate.yaml: Job/"+n.Namespace+"/migrate already exists"))
	if after := n.await(jobKind, "migrate", exists); after.GetUID() != before.GetUID() {
		t.Error("the Job was made anew, which its delete policy does not say")
	}
	if err := n.Delete(within(t), jobKind, "migrate"); err != nil {
		t.Fatal(err)
	}
	n.patch(releaseKind, "app", `{"spec":{"values":{"message":"three"}}}`)
	n.ready("app")
	n.await(jobKind, "migrate", exists)
}
