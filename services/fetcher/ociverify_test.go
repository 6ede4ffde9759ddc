package fetcher_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ociVerifyAgain verifies what was verified again when the spec changes, and not when somebody
// asks for a pass alone.
func ociVerifyAgain(t *testing.T, w *world) {
	r := newRegistry(t, false, nil)
	ours, other := newSigner(t), newSigner(t)
	digest := r.push(t, "again", "latest", nil, layer{fluxLayer, tarred(t, map[string]string{"a": "1"}), nil})
	ours.byTag(t, r, "again", digest, digest)
	w.secret("cosign-again", map[string]string{"key.pub": ours.public(t)})
	trust := func(s signer) {
		t.Helper()
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "cosign-again"}}
		before := secret.DeepCopy()
		secret.StringData = map[string]string{"key.pub": s.public(t)}
		if err := w.client.Patch(t.Context(), secret, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	obj := awaitObject(w, "the artifact", w.createOCI("verify-again", sourcev1.OCIRepositorySpec{
		URL: "oci://" + r.host + "/again", Verify: &sourcev1.OCIRepositoryVerification{Provider: "cosign", SecretRef: local("cosign-again")},
	}), ociAt("latest@"+digest))
	trust(other)
	w.ask(obj, "1")
	awaitObject(w, "the second look", obj, func(o *sourcev1.OCIRepository) bool { return o.Status.LastHandledReconcileAt == "1" })
	if !apimeta.IsStatusConditionTrue(obj.Status.Conditions, "SourceVerified") || !apimeta.IsStatusConditionTrue(obj.Status.Conditions, "Ready") {
		t.Errorf("what was verified was verified again: %+v", obj.Status.Conditions)
	}
	ignore := "*.txt\n"
	obj.Spec.Ignore = &ignore
	if err := w.client.Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	awaitObject(w, "the refusal", obj, ociFails("SourceVerified", "VerificationError", "no matching signatures"))
	if a := obj.Status.Artifact; a == nil || a.Revision != "latest@"+digest || obj.Status.ObservedIgnore != nil {
		t.Errorf("after the refusal the status is %+v", obj.Status)
	}
	trust(ours)
	awaitObject(w, "the recovery", obj, func(o *sourcev1.OCIRepository) bool {
		return ociAt("latest@"+digest)(o) && o.Status.ObservedIgnore != nil && apimeta.IsStatusConditionTrue(o.Status.Conditions, "SourceVerified")
	})
}

// ociVerifyInsecure reads signatures from registries that are only reached because spec.insecure
// allows it: one without TLS, and one with a certificate of nobody's.
func ociVerifyInsecure(t *testing.T, w *world) {
	_, secured := issuing(t, "nobody")
	ours, notary := newSigner(t), newNotary(t)
	w.secret("insecure-cosign", map[string]string{"ours.pub": ours.public(t)})
	w.secret("insecure-notation", map[string]string{
		"ours.crt": notary.root, "trustpolicy.json": trustPolicy("strict", "*"),
	})
	plain, secure := newRegistry(t, false, nil), newRegistry(t, false, secured)
	// What is on this machine is asked without TLS in any case; behind the proxy it has another name.
	forward := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "http", Host: plain.host}) }}
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			http.Error(rw, "no TLS here", http.StatusForbidden)
			return
		}
		forward.ServeHTTP(rw, r)
	}))
	t.Cleanup(proxy.Close)
	w.secret("insecure-proxy", map[string]string{"address": proxy.URL})
	for name, c := range map[string]struct {
		registry *ociRegistry
		host     string
		proxied  bool
		refused  string
	}{
		"plain":  {plain, "registry.example.com", true, "Forbidden"},
		"secure": {secure, secure.host, false, "x509: certificate signed by unknown authority"},
	} {
		for _, provider := range []string{"cosign", "notation"} {
			path := "insecure/" + provider
			digest := c.registry.push(t, path, "latest", map[string]string{"for": name}, layer{fluxLayer, tarred(t, map[string]string{"a": name}), nil})
			if provider == "cosign" {
				ours.byTag(t, c.registry, path, digest, digest)
			} else {
				notary.sign(t, c.registry, path, digest)
			}
			spec := sourcev1.OCIRepositorySpec{
				URL: "oci://" + c.host + "/" + path, Insecure: true,
				Verify: &sourcev1.OCIRepositoryVerification{Provider: provider, SecretRef: local("insecure-" + provider)},
			}
			if c.proxied {
				spec.ProxySecretRef = local("insecure-proxy")
			}
			obj := awaitObject(w, name, w.createOCI("insecure-"+name+"-"+provider, spec), ociAt("latest@"+digest))
			if !apimeta.IsStatusConditionTrue(obj.Status.Conditions, "SourceVerified") {
				t.Errorf("%s, %s: %+v", name, provider, obj.Status.Conditions)
			}
			spec.Insecure = false
			awaitObject(w, name+" without leave", w.createOCI("not-insecure-"+name+"-"+provider, spec), ociFails("FetchFailed", "OCIArtifactPullFailed", c.refused))
		}
	}
}
