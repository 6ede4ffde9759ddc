package builder_test

import (
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/builder"
	dt "github.com/sluice-gitops/sluice/services/builder/internal/decrypt/decrypttest"
)

// watchedLabels make changes of a Secret cause builds at once.
func watchedLabels() map[string]string {
	return map[string]string{"reconcile.fluxcd.io/watch": "Enabled"}
}

func keySecret(namespace, name, entry string, key []byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: watchedLabels()},
		Data:       map[string][]byte{entry: key},
	}
}

func encryptedFiles(t *testing.T, plain string, to dt.For) map[string]string {
	fields := to
	fields.Regex = "^data$"
	return map[string]string{
		"app/kustomization.yaml": "secretGenerator: [{name: s, envs: [a.env]}]\nresources: [c.yaml]\n",
		"app/a.env":              dt.Encrypt(t, "dotenv", "PASS="+plain+"\n", to),
		"app/c.yaml":             dt.Encrypt(t, "yaml", configMap("a", plain), fields),
	}
}

func decryption(t *testing.T, w *world) {
	one, two := dt.NewAge(t), dt.NewAge(t)
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &fluxmeta.LocalObjectReference{Name: "keys"}}
	})
	a.push("main@sha1:1", encryptedFiles(t, "hunter2", dt.For{Age: []dt.Age{one}}))
	if f := a.failed("the keys are missing", `the keys of spec.decryption: secrets "keys" not found`); f.Reason != "BuildFailed" || f.Stalled {
		t.Errorf("got %+v", f)
	}
	keys := keySecret(a.namespace, "keys", "id.agekey", one.Private())
	a.must(a.Create(t.Context(), keys))
	first := a.rendered("the Secret appeared")
	if got := a.value(first, "k"); got != "hunter2" {
		t.Errorf("got %v", got)
	}
	a.push("main@sha1:2", encryptedFiles(t, "hunter2", dt.For{Age: []dt.Age{one}}))
	if d := a.unchanged("the same, encrypted again"); d.RenderID != first.RenderID {
		t.Errorf("render %s became %s", first.RenderID, d.RenderID)
	}
	keys.Data = map[string][]byte{"id.agekey": two.Private()}
	a.must(a.Update(t.Context(), keys))
	f := a.failed("another key, by watch", "no key of Secret "+a.namespace+"/keys opens it")
	a.push("main@sha1:3", encryptedFiles(t, "changed", dt.For{Age: []dt.Age{two}}))
	d := a.rendered("encrypted for the new key")
	if got := a.value(d, "k"); got != "changed" {
		t.Errorf("got %v", got)
	}
	for _, e := range a.history() {
		if body := string(e.Data()); strings.Contains(body, "hunter2") || strings.Contains(body, "SECRET-KEY") {
			t.Errorf("plain text or a key in an event: %s", body)
		}
	}
	if !strings.HasPrefix(f.Message, "decrypt ") {
		t.Errorf("got %s", f.Message)
	}
}

func decryptionRefused(t *testing.T, w *world) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "someone"}
	})
	if f := a.failed("before there is a source", "spec.decryption.serviceAccountName is not served"); f.Reason != "FeatureGateDisabled" || !f.Stalled {
		t.Errorf("got %+v", f)
	}
	b := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops"} })
	b.push("main@sha1:1", encryptedFiles(t, "hunter2", dt.For{KMS: []string{"arn:aws:kms:eu-west-1:123456789012:key/x"}}))
	if f := b.failed("a cloud's key", "this version of Sluice uses age and PGP keys"); f.Reason != "BuildFailed" || !f.Stalled {
		t.Errorf("got %+v", f)
	}
}

// operatorKeys are used where a Kustomization names none of its own.
func operatorKeys(t *testing.T, w *world) {
	global, own, pgp := dt.NewAge(t), dt.NewAge(t), dt.NewPGP(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "operator-"}}
	if err := w.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	secret := keySecret(namespace.Name, "global", "id.agekey", global.Private())
	secret.Data["id.asc"] = pgp.Private(t, "")
	if err := w.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	defer w.start(func(c *builder.Config) { c.RuntimeNamespace, c.AgeSecret = namespace.Name, "global" })()
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops"} })
	a.push("main@sha1:1", encryptedFiles(t, "hunter2", dt.For{Age: []dt.Age{global}}))
	if got := a.value(a.rendered("the operator's key"), "k"); got != "hunter2" {
		t.Errorf("got %v", got)
	}
	a.push("main@sha1:2", encryptedFiles(t, "hunter2", dt.For{PGP: []dt.PGP{pgp}}))
	a.failed("the operator's Secret serves with age keys only", "no key of Secret "+namespace.Name+"/global opens it")
	a.must(a.Create(t.Context(), keySecret(a.namespace, "keys", "id.agekey", own.Private())))
	a.edit(func(ks *kustomizev1.Kustomization) {
		ks.Spec.Decryption.SecretRef = &fluxmeta.LocalObjectReference{Name: "keys"}
	})
	a.push("main@sha1:3", encryptedFiles(t, "hunter2", dt.For{Age: []dt.Age{global}}))
	a.failed("its own Secret wins", "no key of Secret "+a.namespace+"/keys opens it")
	a.push("main@sha1:4", encryptedFiles(t, "mine", dt.For{Age: []dt.Age{own}}))
	if got := a.value(await(a, "its own key", func(d events.BuildRendered) bool { return d.Revision == a.revision }), "k"); got != "mine" {
		t.Errorf("got %v", got)
	}
}
