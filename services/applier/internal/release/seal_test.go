package release_test

import (
	"cmp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// TestSealedRun believes of an action only what an applier stored for this HelmRelease, at this place and with this release.
func TestSealedRun(t *testing.T) {
	const namespace, name = "sealed-run", "sh.helm.release.v1.app.v1"
	makeNamespace(t, namespace)
	makeNamespace(t, namespace+"-other")
	a := newApplier(t, namespace, 1<<40)
	rotated, err := seal.RotateKeyringData(keyring)
	if err != nil {
		t.Fatal(err)
	}
	stranger := owner
	stranger.UID = "other"
	planted := revision(namespace, 1, "planted")
	if err := newApplier(t, namespace+"-other", 1<<40).store.Create(t.Context(), planted); err != nil {
		t.Fatal(err)
	}
	other, err := a.client.Secrets(namespace+"-other").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secrets := a.client.Secrets(namespace)
	for _, c := range []struct {
		why   string
		edit  func(*corev1.Secret)
		keys  map[string][]byte
		owner seal.Identity
		place string
		ours  bool
	}{
		{why: "as it was stored", keys: keyring, owner: owner, ours: true},
		{why: "the key was rotated since", keys: rotated, owner: owner, ours: true},
		{why: "a label was added", keys: keyring, owner: owner, ours: true, edit: func(s *corev1.Secret) { s.Labels["by"] = "hand" }},
		{why: "the key is gone", keys: seal.NewKeyringData(), owner: owner},
		{why: "it is of another HelmRelease", keys: keyring, owner: stranger},
		{why: "it is said to be of another namespace", keys: keyring, owner: owner, place: namespace + "-other"},
		{why: "the release is another", keys: keyring, owner: owner, edit: func(s *corev1.Secret) { s.Data = other.Data }},
		{why: "the action is another", keys: keyring, owner: owner, edit: annotate("sluice.dev/run", func(v string) string {
			return strings.Replace(v, "install", "upgrade", 1)
		})},
		{why: "the action is no JSON", keys: keyring, owner: owner, edit: annotate("sluice.dev/run", func(string) string { return "{" })},
		{why: "the seal is no seal", keys: keyring, owner: owner, edit: annotate("sluice.dev/run-seal", func(string) string { return "?" })},
		{why: "the seal is another's", keys: keyring, owner: owner, edit: annotate("sluice.dev/run-seal", func(v string) string {
			key, _, _ := strings.Cut(v, ".")
			return key + "." + strings.Repeat("A", 43)
		})},
		{why: "there is no seal", keys: keyring, owner: owner, edit: func(s *corev1.Secret) { delete(s.Annotations, "sluice.dev/run-seal") }},
	} {
		t.Run(c.why, func(t *testing.T) {
			made := revision(namespace, 1, "one")
			runner := release.Runner{Client: a.client, Store: a.store}
			if err := runner.Begin(t.Context(), made, helmstore.Run{Action: release.Install}); err != nil {
				t.Fatal(err)
			}
			secret, err := secrets.Get(t.Context(), name, metav1.GetOptions{})
			if err == nil && c.edit != nil {
				c.edit(secret)
				_, err = secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
			}
			if err != nil {
				t.Fatal(err)
			}
			place := cmp.Or(c.place, namespace)
			all, err := helmstore.New(secrets, place, ring(t, c.keys), c.owner).List(t.Context(), appName)
			if err != nil {
				t.Fatal(err)
			}
			if len(all) != 1 || (all[0].Run != nil) != c.ours {
				t.Errorf("%d revisions, the newest with the run %+v, want one: %t", len(all), all[0].Run, c.ours)
			}
			if err := secrets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func annotate(key string, edit func(string) string) func(*corev1.Secret) {
	return func(s *corev1.Secret) { s.Annotations[key] = edit(s.Annotations[key]) }
}

// TestForeignUninstall deletes what is marked as the release's, and runs no hooks that it knows from nobody.
func TestForeignUninstall(t *testing.T) {
	const namespace = "foreign-uninstall"
	makeNamespace(t, namespace)
	a := newApplier(t, namespace, 1<<40)
	finish(t, a, namespace, release.Install)
	all, err := a.store.List(t.Context(), appName)
	if err != nil {
		t.Fatal(err)
	}
	runner := release.Runner{Client: a.client, Store: a.store}
	if err := runner.Begin(t.Context(), all[0], helmstore.Run{Action: release.Uninstall, Foreign: true}); err != nil {
		t.Fatal(err)
	}
	finish(t, a, namespace, release.Uninstall)
	for _, object := range objectsIn(t, a, namespace) {
		if object != "hook-pre-install" {
			t.Errorf("there is %s", object)
		}
	}
}
