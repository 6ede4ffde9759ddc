package fetcher_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
	"github.com/sluice-gitops/sluice/test/pki"
)

func (w *world) createOCI(name string, spec sourcev1.OCIRepositorySpec) *sourcev1.OCIRepository {
	w.t.Helper()
	spec.Interval.Duration = time.Hour
	obj := &sourcev1.OCIRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}
	if err := w.client.Create(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
	return obj
}

func ociAt(revision string) func(*sourcev1.OCIRepository) bool {
	return func(o *sourcev1.OCIRepository) bool {
		return apimeta.IsStatusConditionTrue(o.Status.Conditions, "Ready") && o.Status.ObservedGeneration == o.Generation && o.Status.Artifact.Revision == revision
	}
}

func ociFails(kind, reason, text string) func(*sourcev1.OCIRepository) bool {
	return func(o *sourcev1.OCIRepository) bool { return fails(o.Status.Conditions, kind, reason, text) }
}

// names returns the files in an artifact.
func (w *world) names(a *meta.Artifact) []string {
	w.t.Helper()
	w.download(a)
	res, err := http.Get(a.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return tarNames(w.t, body)
}

func tarNames(t *testing.T, archive []byte) []string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for entries := tar.NewReader(zip); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}

// pullSecret makes a Secret with a login for a registry.
func (w *world) pullSecret(name, host, user, password string) {
	w.t.Helper()
	text, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}}})
	if err != nil {
		w.t.Fatal(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: text},
	}
	if err := w.client.Create(w.t.Context(), secret); err != nil {
		w.t.Fatal(err)
	}
}

func ociRepositories(t *testing.T, w *world) {
	for _, c := range []struct {
		name, why string
		run       func(*testing.T, *world)
	}{
		{"life", "a tag that did not move costs one request, one that did a download", ociLife},
		{"references", "digest goes before semver, semver before tag", ociReferences},
		{"layers", "the layer selector, extract and copy", ociLayers},
		{"login", "secrets, pull secrets of service accounts, TLS, and what is wrong with them", ociLogin},
		{"proxy", "through a proxy", ociProxy},
		{"failures", "what is wrong is told", ociFailures},
		{"verify", "signatures of cosign, by tag and as bundles", ociVerify},
		{"verify again", "what was verified is verified again for another spec", ociVerifyAgain},
		{"verify insecure", "signatures in registries that spec.insecure is needed for", ociVerifyInsecure},
		{"keyless", "signatures of identities, by a trusted root of our own", ociKeyless},
		{"notation", "signatures by the trust policies of the Notary Project", ociNotation},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, w.in(t)) })
	}
}

func ociLife(t *testing.T, w *world) {
	r := newRegistry(t, false, nil)
	url := "oci://" + r.host + "/team/app"
	annotations := map[string]string{"org.opencontainers.image.source": "https://git.example.com/app", "org.opencontainers.image.revision": "main@sha1:abc"}
	first := r.push(t, "team/app", "latest", annotations, layer{fluxLayer, tarred(t, map[string]string{"a.yaml": "a: 1\n", "dir/b.yaml": "b: 1\n", "picture.png": "x"}), nil})
	obj := awaitObject(w, "the artifact", w.createOCI("oci-life", sourcev1.OCIRepositorySpec{URL: url}), ociAt("latest@"+first))
	if got := apimeta.FindStatusCondition(obj.Status.Conditions, "Ready"); got.Reason != "Succeeded" || got.Message != "stored artifact for digest 'latest@"+first+"'" {
		t.Errorf("Ready is %+v", got)
	}
	a := *obj.Status.Artifact
	if a.Path != "ocirepository/default/oci-life/"+first+".tar.gz" || a.Metadata["org.opencontainers.image.revision"] != "main@sha1:abc" || !strings.HasSuffix(obj.Status.URL, "/ocirepository/default/oci-life/latest.tar.gz") {
		t.Errorf("status is %+v", obj.Status)
	}
	if got := w.names(&a); !slices.Equal(got, []string{"a.yaml", "dir/b.yaml"}) {
		t.Errorf("files are %q", got)
	}
	w.kubernetesEvent("oci-life", "NewArtifact", "stored artifact with revision 'latest@"+first+"' from '"+url+"', origin source 'https://git.example.com/app', origin revision 'main@sha1:abc'")

	before := len(r.since(0))
	w.ask(obj, "1")
	awaitObject(w, "the second look", obj, func(o *sourcev1.OCIRepository) bool { return o.Status.LastHandledReconcileAt == "1" })
	if got := r.since(before); !slices.Equal(got, []string{"HEAD /v2/team/app/manifests/latest"}) {
		t.Errorf("a tag that did not move cost %q", got)
	}
	second := r.push(t, "team/app", "latest", nil, layer{fluxLayer, tarred(t, map[string]string{"a.yaml": "a: 2\n"}), nil})
	w.ask(obj, "2")
	awaitObject(w, "the new digest", obj, ociAt("latest@"+second))
	ignore := "*.txt\n"
	obj.Spec.Ignore = &ignore
	if err := w.client.Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	awaitObject(w, "the ignore rules", obj, func(o *sourcev1.OCIRepository) bool {
		return ociAt("latest@"+second)(o) && o.Status.ObservedIgnore != nil && *o.Status.ObservedIgnore == ignore
	})
	packed := obj.Status.Artifact.Digest
	obj.Spec.LayerSelector = &sourcev1.OCILayerSelector{Operation: sourcev1.OCILayerCopy}
	if err := w.client.Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	awaitObject(w, "the layer as it is", obj, func(o *sourcev1.OCIRepository) bool {
		return ociAt("latest@"+second)(o) && o.Status.ObservedLayerSelector != nil && o.Status.ObservedLayerSelector.Operation == sourcev1.OCILayerCopy
	})
	if obj.Status.Artifact.Digest == packed {
		t.Error("the layer selector changed nothing")
	}
}

func ociReferences(t *testing.T, w *world) {
	r := newRegistry(t, false, nil)
	url := "oci://" + r.host + "/refs"
	digests := map[string]string{}
	for _, tag := range []string{"latest", "1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1", "v3.0.0-dev", "edge"} {
		digests[tag] = r.push(t, "refs", tag, map[string]string{"tag": tag}, layer{fluxLayer, tarred(t, map[string]string{"tag": tag}), nil})
	}
	for n, c := range []struct {
		why  string
		ref  *sourcev1.OCIRepositoryRef
		want string
	}{
		{"none", nil, "latest@" + digests["latest"]},
		{"a tag", &sourcev1.OCIRepositoryRef{Tag: "edge"}, "edge@" + digests["edge"]},
		{"semver before tag", &sourcev1.OCIRepositoryRef{Tag: "edge", SemVer: "1.x"}, "1.10.0@" + digests["1.10.0"]},
		{"prereleases", &sourcev1.OCIRepositoryRef{SemVer: ">=1.0.0-0"}, "v3.0.0-dev@" + digests["v3.0.0-dev"]},
		{"a filter", &sourcev1.OCIRepositoryRef{SemVer: ">=1.0.0-0", SemverFilter: ".*-rc.*"}, "2.0.0-rc.1@" + digests["2.0.0-rc.1"]},
		{"digest before all", &sourcev1.OCIRepositoryRef{SemVer: "1.x", Digest: digests["edge"]}, digests["edge"]},
	} {
		awaitObject(w, c.why, w.createOCI(fmt.Sprintf("oci-ref-%d", n), sourcev1.OCIRepositorySpec{URL: url, Reference: c.ref}), ociAt(c.want))
	}
}

func ociLayers(t *testing.T, w *world) {
	r := newRegistry(t, false, nil)
	url := "oci://" + r.host + "/layers"
	one, two := tarred(t, map[string]string{"one": "1"}), tarred(t, map[string]string{"two": "2"})
	digest := r.push(t, "layers", "latest", nil, layer{"application/vnd.acme.one.tar+gzip", one, nil}, layer{"application/vnd.acme.two.tar+gzip", two, nil}, layer{"application/vnd.acme.text", []byte("no archive"), nil})
	for name, c := range map[string]struct {
		selector *sourcev1.OCILayerSelector
		want     []string
		digest   string
	}{
		"first":   {nil, []string{"one"}, ""},
		"by-type": {&sourcev1.OCILayerSelector{MediaType: "application/vnd.acme.two.tar+gzip"}, []string{"two"}, ""},
		"copied":  {&sourcev1.OCILayerSelector{MediaType: "application/vnd.acme.two.tar+gzip", Operation: "copy"}, []string{"two"}, blob.Digest(two)},
	} {
		obj := awaitObject(w, name, w.createOCI("oci-layer-"+name, sourcev1.OCIRepositorySpec{URL: url, LayerSelector: c.selector}), ociAt("latest@"+digest))
		if got := w.names(obj.Status.Artifact); !slices.Equal(got, c.want) || c.digest != "" && obj.Status.Artifact.Digest != c.digest {
			t.Errorf("%s: %q, %s", name, got, obj.Status.Artifact.Digest)
		}
	}
	for name, c := range map[string]struct{ mediaType, text string }{
		"unknown": {"application/vnd.acme.other", "failed to find layer with media type 'application/vnd.acme.other' in artifact"},
		"text":    {"application/vnd.acme.text", "failed to extract layer contents from artifact: "},
	} {
		awaitObject(w, name, w.createOCI("oci-layer-"+name, sourcev1.OCIRepositorySpec{URL: url, LayerSelector: &sourcev1.OCILayerSelector{MediaType: c.mediaType}}),
			ociFails("FetchFailed", "OCIArtifactLayerOperationFailed", c.text))
	}
}

func ociLogin(t *testing.T, w *world) {
	authority, secured := issuing(t, "registry")
	r := newRegistry(t, true, secured)
	digest := r.push(t, "private", "latest", nil, layer{fluxLayer, tarred(t, map[string]string{"a": "1"}), nil})
	w.secret("oci-ca", map[string]string{"ca.crt": string(authority.Certificate)})
	w.secret("oci-legacy-ca", map[string]string{"caFile": string(authority.Certificate)})
	w.secret("oci-bad-ca", map[string]string{"ca.crt": "nonsense"})
	w.secret("oci-opaque", map[string]string{"username": "x"})
	w.pullSecret("oci-login", r.host, registryUser, registryPassword)
	w.pullSecret("oci-wrong", r.host, registryUser, "other")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "puller"}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "oci-login"}}}
	if err := w.client.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	spec := func(secret, ca, account string) sourcev1.OCIRepositorySpec {
		s := sourcev1.OCIRepositorySpec{URL: "oci://" + r.host + "/private", ServiceAccountName: account}
		if secret != "" {
			s.SecretRef = local(secret)
		}
		if ca != "" {
			s.CertSecretRef = local(ca)
		}
		return s
	}
	insecure := spec("oci-login", "", "")
	insecure.Insecure = true
	for name, s := range map[string]sourcev1.OCIRepositorySpec{
		"secret": spec("oci-login", "oci-ca", ""), "legacy": spec("oci-login", "oci-legacy-ca", ""),
		"account": spec("", "oci-ca", "puller"), "insecure": insecure,
	} {
		awaitObject(w, name, w.createOCI("oci-login-"+name, s), ociAt("latest@"+digest))
	}
	for name, c := range map[string]struct {
		spec         sourcev1.OCIRepositorySpec
		reason, text string
	}{
		"anonymous": {spec("", "oci-ca", ""), "OCIArtifactPullFailed", "failed to determine artifact digest: "},
		"wrong":     {spec("oci-wrong", "oci-ca", ""), "OCIArtifactPullFailed", "UNAUTHORIZED"},
		"no-ca":     {spec("oci-login", "", ""), "OCIArtifactPullFailed", "x509: certificate signed by unknown authority"},
		"bad-ca":    {spec("oci-login", "oci-bad-ca", ""), "AuthenticationFailed", "failed to parse CA certificate"},
		"missing":   {spec("oci-none", "oci-ca", ""), "AuthenticationFailed", "failed to get secret 'default/oci-none'"},
		"opaque":    {spec("oci-opaque", "oci-ca", ""), "AuthenticationFailed", "has no key '.dockerconfigjson'"},
		"nobody":    {spec("", "oci-ca", "nobody"), "AuthenticationFailed", "failed to get service account 'default/nobody'"},
	} {
		awaitObject(w, name, w.createOCI("oci-refused-"+name, c.spec), ociFails("FetchFailed", c.reason, c.text))
	}
}

func ociProxy(t *testing.T, w *world) {
	r := newRegistry(t, false, nil)
	digest := r.push(t, "proxied", "latest", nil, layer{fluxLayer, tarred(t, map[string]string{"a": "1"}), nil})
	proxy := gittest.ServeHTTPProxy(t)
	w.secret("oci-proxy", map[string]string{"address": proxy.URL, "username": gittest.ProxyUser, "password": gittest.ProxyPassword})
	w.secret("oci-no-proxy", map[string]string{"address": "ftp://x"})
	spec := sourcev1.OCIRepositorySpec{URL: "oci://" + r.host + "/proxied", ProxySecretRef: local("oci-proxy")}
	awaitObject(w, "the artifact", w.createOCI("oci-proxy", spec), ociAt("latest@"+digest))
	spec.ProxySecretRef = local("oci-no-proxy")
	awaitObject(w, "the refusal", w.createOCI("oci-no-proxy", spec), ociFails("FetchFailed", "AuthenticationFailed", "'address' is no http, https or socks5 URL"))
}

func ociFailures(t *testing.T, w *world) {
	r := newRegistry(t, false, nil)
	r.push(t, "some", "1.0.0", nil, layer{fluxLayer, tarred(t, map[string]string{"a": "1"}), nil})
	r.push(t, "escape", "latest", nil, layer{fluxLayer, tarred(t, map[string]string{"../a": "1"}), nil})
	r.push(t, "annotated", "latest", map[string]string{"a": strings.Repeat("x", 2<<20)}, layer{fluxLayer, tarred(t, map[string]string{"a": "1"}), nil})
	r.push(t, "rules", "latest", nil, layer{fluxLayer, tarred(t, map[string]string{".sourceignore": strings.Repeat("x\n", 10_001), "a": "1"}), nil})
	url := "oci://" + r.host + "/some"
	awaitObject(w, "rules", w.createOCI("oci-failing-rules", sourcev1.OCIRepositorySpec{URL: "oci://" + r.host + "/rules"}),
		ociFails("StorageOperationFailed", "SourceIgnoreError", ".sourceignore: there are more than 10000 ignore rules together"))
	for name, c := range map[string]struct {
		url, provider string
		ref           *sourcev1.OCIRepositoryRef
		reason, text  string
	}{
		"tag":         {url, "", nil, "OCIArtifactPullFailed", "MANIFEST_UNKNOWN"},
		"semver":      {url, "", &sourcev1.OCIRepositoryRef{SemVer: "9.x"}, "ReadOperationFailed", "failed to determine the artifact tag for '" + url + "': no match found for semver: 9.x"},
		"range":       {url, "", &sourcev1.OCIRepositoryRef{SemVer: "x y"}, "ReadOperationFailed", "semver 'x y' parse error"},
		"filter":      {url, "", &sourcev1.OCIRepositoryRef{SemVer: "*", SemverFilter: "("}, "ReadOperationFailed", "semverFilter '(' parse error"},
		"digest":      {url, "", &sourcev1.OCIRepositoryRef{Digest: "sha256:" + strings.Repeat("0", 64)}, "OCIArtifactPullFailed", "MANIFEST_UNKNOWN"},
		"url":         {url + ":1.0.0", "", nil, "URLInvalid", "URL validation failed for '" + url + ":1.0.0': "},
		"escape":      {"oci://" + r.host + "/escape", "", nil, "OCIArtifactLayerOperationFailed", `forbidden name "../a"`},
		"annotations": {"oci://" + r.host + "/annotated", "", nil, "OCIArtifactPullFailed", "the annotations of its manifest have 2097153 bytes, more than the 65536"},
		"provider":    {url, "aws", nil, "AuthenticationFailed", "failed to get credential from aws: invalid AWS registry: '"},
	} {
		obj := awaitObject(w, name, w.createOCI("oci-failing-"+name, sourcev1.OCIRepositorySpec{URL: c.url, Provider: c.provider, Reference: c.ref}), ociFails("FetchFailed", c.reason, c.text))
		if stalled := apimeta.IsStatusConditionTrue(obj.Status.Conditions, "Stalled"); stalled != (c.reason == "URLInvalid") {
			t.Errorf("%s: stalled is %t", name, stalled)
		}
	}
	digest := r.push(t, "some", "latest", nil, layer{fluxLayer, tarred(t, map[string]string{"a": "2"}), nil})
	awaitObject(w, "the cure", &sourcev1.OCIRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "oci-failing-tag"}}, ociAt("latest@"+digest))
}

// signer signs as cosign does.
type signer struct{ *ecdsa.PrivateKey }

func newSigner(t *testing.T) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key}
}

func (s signer) public(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (s signer) sign(t *testing.T, data []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(data)
	signature, err := ecdsa.SignASN1(rand.Reader, s.PrivateKey, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// byTag puts a signature where cosign 2 does; about is the digest that it names.
func (s signer) byTag(t *testing.T, r *ociRegistry, path, digest, about string) {
	t.Helper()
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, about)
	r.push(t, path, strings.Replace(digest, ":", "-", 1)+".sig", nil, layer{
		"application/vnd.dev.cosign.simplesigning.v1+json", payload,
		map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(s.sign(t, payload))},
	})
}

// byBundle puts a signature where cosign 3 does.
func (s signer) byBundle(t *testing.T, r *ociRegistry, path, digest, about string) {
	t.Helper()
	const media, kind = "application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.in-toto+json"
	statement := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`, strings.TrimPrefix(about, "sha256:"))
	signed := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(statement), statement)
	text, err := json.Marshal(map[string]any{
		"mediaType": media, "verificationMaterial": map[string]any{"publicKey": map[string]string{"hint": "x"}},
		"dsseEnvelope": map[string]any{"payload": statement, "payloadType": kind, "signatures": []map[string]any{{"sig": s.sign(t, signed)}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.refer(t, path, digest, media, text)
}

// refer puts content that refers to the artifact with a digest.
func (r *ociRegistry) refer(t *testing.T, path, digest string, media types.MediaType, text []byte) {
	t.Helper()
	hash, err := v1.NewHash(digest)
	if err != nil {
		t.Fatal(err)
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), media)
	if image, err = mutate.AppendLayers(image, static.NewLayer(text, media)); err != nil {
		t.Fatal(err)
	}
	bundle := mutate.Subject(image, v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: hash}).(v1.Image)
	// A registry without the referrers API keeps the list under this tag.
	bundled, err := bundle.Digest()
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, path, "bundle-"+bundled.Hex[:12], bundle)
}

func ociVerify(t *testing.T, w *world) {
	r := newRegistry(t, false, nil)
	ours, other := newSigner(t), newSigner(t)
	w.secret("cosign-pub", map[string]string{"other.pub": newSigner(t).public(t), "ours.pub": ours.public(t)})
	w.secret("cosign-bad", map[string]string{"ours.pub": "nonsense"})
	w.secret("cosign-empty", map[string]string{"ours.pem": ours.public(t)})
	push := func(path string) string {
		return r.push(t, path, "latest", map[string]string{"path": path}, layer{fluxLayer, tarred(t, map[string]string{"a": path}), nil})
	}
	spec := func(path, secret string) sourcev1.OCIRepositorySpec {
		return sourcev1.OCIRepositorySpec{URL: "oci://" + r.host + "/" + path, Verify: &sourcev1.OCIRepositoryVerification{Provider: "cosign", SecretRef: local(secret)}}
	}
	tagged, bundled := push("tagged"), push("bundled")
	ours.byTag(t, r, "tagged", tagged, tagged)
	ours.byBundle(t, r, "bundled", bundled, bundled)
	for path, digest := range map[string]string{"tagged": tagged, "bundled": bundled} {
		obj := awaitObject(w, path, w.createOCI("verify-"+path, spec(path, "cosign-pub")), ociAt("latest@"+digest))
		if c := apimeta.FindStatusCondition(obj.Status.Conditions, "SourceVerified"); c == nil || c.Status != metav1.ConditionTrue || c.Message != "verified signature of revision latest@"+digest {
			t.Errorf("SourceVerified is %+v", c)
		}
		before := len(r.since(0))
		w.ask(obj, "1")
		awaitObject(w, "the second look", obj, func(o *sourcev1.OCIRepository) bool { return o.Status.LastHandledReconcileAt == "1" })
		if got := r.since(before); len(got) != 1 {
			t.Errorf("what is verified cost %q", got)
		}
		obj.Spec.Verify = nil
		if err := w.client.Update(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
		awaitObject(w, "no verification", obj, func(o *sourcev1.OCIRepository) bool {
			return ociAt("latest@"+digest)(o) && apimeta.FindStatusCondition(o.Status.Conditions, "SourceVerified") == nil
		})
	}

	unsigned, foreign, borrowed, swapped := push("unsigned"), push("foreign"), push("borrowed"), push("swapped")
	other.byTag(t, r, "foreign", foreign, foreign)
	ours.byTag(t, r, "borrowed", borrowed, tagged)
	ours.byBundle(t, r, "swapped", swapped, bundled)
	const none = "failed to verify the signature using provider 'cosign': no matching signatures"
	unknown := spec("tagged", "cosign-pub")
	unknown.Verify.Provider = "notation"
	for name, c := range map[string]struct {
		spec sourcev1.OCIRepositorySpec
		text string
	}{
		"unsigned":     {spec("unsigned", "cosign-pub"), none},
		"another key":  {spec("foreign", "cosign-pub"), none},
		"another's":    {spec("borrowed", "cosign-pub"), none},
		"bundle":       {spec("swapped", "cosign-pub"), none},
		"bad key":      {spec("tagged", "cosign-bad"), "'ours.pub' is no public key in PEM form"},
		"no key":       {spec("tagged", "cosign-empty"), "it has no key whose name ends with '.pub'"},
		"later secret": {spec("tagged", "cosign-later"), "failed to get secret 'default/cosign-later'"},
		"notation":     {unknown, "secret 'default/cosign-pub': it has no key 'trustpolicy.json'"},
	} {
		obj := awaitObject(w, name, w.createOCI("verify-"+strings.NewReplacer(" ", "-", "'", "").Replace(name), c.spec), ociFails("SourceVerified", "VerificationError", c.text))
		if obj.Status.Artifact != nil {
			t.Errorf("%s: an artifact that is not verified was stored", name)
		}
	}
	w.secret("cosign-later", map[string]string{"ours.pub": ours.public(t)})
	awaitObject(w, "the cure", &sourcev1.OCIRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "verify-later-secret"}}, ociAt("latest@"+tagged))
	ours.byTag(t, r, "unsigned", unsigned, unsigned)
	awaitObject(w, "the signature", &sourcev1.OCIRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "verify-unsigned"}}, ociAt("latest@"+unsigned))
}

// issuing returns an authority and what a server on loopback needs that has its certificate from it.
func issuing(t *testing.T, name string) (*pki.Authority, *tls.Config) {
	t.Helper()
	authority, err := pki.NewAuthority(name)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := authority.Server("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(identity.Certificate, identity.Key)
	if err != nil {
		t.Fatal(err)
	}
	return authority, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
}
