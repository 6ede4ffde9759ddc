package fetcher_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-core-go/testhelper"
	"github.com/notaryproject/notation-go"
	notationregistry "github.com/notaryproject/notation-go/registry"
	notationsigner "github.com/notaryproject/notation-go/signer"
	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssev1 "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"google.golang.org/protobuf/encoding/protojson"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// sigstore is a certificate authority and a transparency log of our own.
type sigstore struct{ *ca.VirtualSigstore }

func newSigstore(t *testing.T) (sigstore, string) {
	t.Helper()
	virtual, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	logs := virtual.RekorLogs()
	for id, log := range logs {
		if log.ID, err = hex.DecodeString(id); err != nil { // it has the text
			t.Fatal(err)
		}
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, virtual.FulcioCertificateAuthorities(), nil, virtual.TimestampingAuthorities(), logs)
	if err != nil {
		t.Fatal(err)
	}
	text, err := trusted.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return sigstore{virtual}, string(text)
}

const (
	issuer = "https://issuer.example.com"
	robot  = "robot@example.com"
)

// evidence is what a signature comes with: a certificate, and the log's entry with its promise.
func (s sigstore) evidence(t *testing.T, entity *ca.TestEntity) (certificate []byte, entry *rekorv1.TransparencyLogEntry) {
	t.Helper()
	content, err := entity.VerificationContent()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := entity.TlogEntries()
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	entry = entries[0].TransparencyLogEntry()
	promise, err := s.RekorSignPayload(tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(entry.CanonicalizedBody), IntegratedTime: entry.IntegratedTime,
		LogIndex: entry.LogIndex, LogID: hex.EncodeToString(entry.LogId.KeyId),
	})
	if err != nil {
		t.Fatal(err)
	}
	entry.InclusionPromise = &rekorv1.InclusionPromise{SignedEntryTimestamp: promise}
	var kind struct{ Kind, APIVersion string }
	if err := json.Unmarshal(entry.CanonicalizedBody, &kind); err != nil {
		t.Fatal(err)
	}
	entry.KindVersion = &rekorv1.KindVersion{Kind: kind.Kind, Version: kind.APIVersion}
	return content.Certificate().Raw, entry
}

// byTag puts a signature where cosign 2 does.
func (s sigstore) byTag(t *testing.T, r *ociRegistry, path, digest, identity string) {
	t.Helper()
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, digest)
	entity, err := s.Sign(identity, issuer, payload)
	if err != nil {
		t.Fatal(err)
	}
	content, err := entity.SignatureContent()
	if err != nil {
		t.Fatal(err)
	}
	certificate, entry := s.evidence(t, entity)
	promise, err := json.Marshal(map[string]any{
		"SignedEntryTimestamp": entry.InclusionPromise.SignedEntryTimestamp,
		"Payload": map[string]any{
			"body": base64.StdEncoding.EncodeToString(entry.CanonicalizedBody), "integratedTime": entry.IntegratedTime,
			"logIndex": entry.LogIndex, "logID": hex.EncodeToString(entry.LogId.KeyId),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.push(t, path, strings.Replace(digest, ":", "-", 1)+".sig", nil, layer{
		"application/vnd.dev.cosign.simplesigning.v1+json", payload, map[string]string{
			"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(content.Signature()),
			"dev.sigstore.cosign/certificate":    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})),
			"dev.sigstore.cosign/bundle":         string(promise),
		},
	})
}

// byBundle puts a signature where cosign 3 does.
func (s sigstore) byBundle(t *testing.T, r *ociRegistry, path, digest, about, identity string) {
	t.Helper()
	const media = "application/vnd.dev.sigstore.bundle.v0.3+json"
	statement := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`, strings.TrimPrefix(about, "sha256:"))
	entity, err := s.AttestAtTime(identity, issuer, statement, time.Now().Add(5*time.Minute), true) // when its other ways of signing do
	if err != nil {
		t.Fatal(err)
	}
	content, err := entity.SignatureContent()
	if err != nil {
		t.Fatal(err)
	}
	certificate, entry := s.evidence(t, entity)
	envelope := content.EnvelopeContent().RawEnvelope()
	text, err := protojson.Marshal(&bundlev1.Bundle{
		MediaType: media,
		VerificationMaterial: &bundlev1.VerificationMaterial{
			Content:     &bundlev1.VerificationMaterial_Certificate{Certificate: &commonv1.X509Certificate{RawBytes: certificate}},
			TlogEntries: []*rekorv1.TransparencyLogEntry{entry},
		},
		Content: &bundlev1.Bundle_DsseEnvelope{DsseEnvelope: &dssev1.Envelope{
			Payload: statement, PayloadType: envelope.PayloadType, Signatures: []*dssev1.Signature{{Sig: content.Signature()}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.refer(t, path, digest, media, text)
}

func ociKeyless(t *testing.T, w *world) {
	r := newRegistry(t, false, nil)
	ours, trusted := newSigstore(t)
	theirs, _ := newSigstore(t)
	w.secret("sigstore-root", map[string]string{"trusted_root.json": trusted})
	w.secret("sigstore-bad", map[string]string{"trusted_root.json": "{"})
	w.secret("sigstore-empty", map[string]string{"root.json": trusted})
	push := func(path string) string {
		return r.push(t, "keyless/"+path, "latest", map[string]string{"path": path}, layer{fluxLayer, tarred(t, map[string]string{"a": path}), nil})
	}
	spec := func(path, secret string, identities ...sourcev1.OIDCIdentityMatch) sourcev1.OCIRepositorySpec {
		return sourcev1.OCIRepositorySpec{URL: "oci://" + r.host + "/keyless/" + path, Verify: &sourcev1.OCIRepositoryVerification{
			Provider: "cosign", TrustedRootSecretRef: local(secret), MatchOIDCIdentity: identities,
		}}
	}
	us := sourcev1.OIDCIdentityMatch{Issuer: "^https://issuer\\.example\\.com$", Subject: "^robot@example\\.com$"}
	other := sourcev1.OIDCIdentityMatch{Issuer: us.Issuer, Subject: "^human@example\\.com$"}
	digests := map[string]string{}
	for _, path := range []string{"tagged", "bundled", "foreign", "swapped", "unsigned", "key"} {
		digests[path] = push(path)
	}
	ours.byTag(t, r, "keyless/tagged", digests["tagged"], robot)
	ours.byBundle(t, r, "keyless/bundled", digests["bundled"], digests["bundled"], robot)
	theirs.byTag(t, r, "keyless/foreign", digests["foreign"], robot)
	ours.byBundle(t, r, "keyless/swapped", digests["swapped"], digests["bundled"], robot)
	newSigner(t).byTag(t, r, "keyless/key", digests["key"], digests["key"])
	for name, c := range map[string]struct {
		path       string
		identities []sourcev1.OIDCIdentityMatch
	}{
		"by-tag": {"tagged", []sourcev1.OIDCIdentityMatch{us}}, "as-bundle": {"bundled", []sourcev1.OIDCIdentityMatch{us}},
		"one-of-two": {"tagged", []sourcev1.OIDCIdentityMatch{other, us}}, "anybody": {"bundled", nil},
	} {
		obj := awaitObject(w, name, w.createOCI("keyless-"+name, spec(c.path, "sigstore-root", c.identities...)), ociAt("latest@"+digests[c.path]))
		if !apimeta.IsStatusConditionTrue(obj.Status.Conditions, "SourceVerified") {
			t.Errorf("%s: %+v", name, obj.Status.Conditions)
		}
	}
	const refused = "failed to verify the signature using provider 'cosign keyless': "
	for name, c := range map[string]struct {
		spec sourcev1.OCIRepositorySpec
		text string
	}{
		"another-identity": {spec("tagged", "sigstore-root", other), refused + "no matching signatures: "},
		"another-bundle":   {spec("bundled", "sigstore-root", other), refused + "no matching signatures: "},
		"another-root":     {spec("foreign", "sigstore-root", us), refused + "no matching signatures: "},
		"another-artifact": {spec("swapped", "sigstore-root", us), refused + "no matching signatures: "},
		"unsigned":         {spec("unsigned", "sigstore-root", us), refused + "no matching signatures"},
		"with-a-key":       {spec("key", "sigstore-root", us), "it was made with a key, which spec.verify.secretRef names"},
		"bad-root":         {spec("tagged", "sigstore-bad", us), "the trusted root cannot be read"},
		"no-root":          {spec("tagged", "sigstore-empty", us), "secret 'default/sigstore-empty' has no key 'trusted_root.json'"},
		"bad-pattern":      {spec("tagged", "sigstore-root", sourcev1.OIDCIdentityMatch{Issuer: "(", Subject: "x"}), "matchOIDCIdentity: "},
	} {
		obj := awaitObject(w, name, w.createOCI("keyless-"+name, c.spec), ociFails("SourceVerified", "VerificationError", c.text))
		if obj.Status.Artifact != nil {
			t.Errorf("%s: an artifact that is not verified was stored", name)
		}
	}
}

// notary signs as notation does.
type notary struct {
	signer notation.Signer
	root   string
}

func newNotary(t *testing.T) notary {
	t.Helper()
	trusted, leaf := testhelper.GetRSARootCertificate(), testhelper.GetRSALeafCertificate()
	signer, err := notationsigner.NewGenericSigner(leaf.PrivateKey, []*x509.Certificate{leaf.Cert, trusted.Cert})
	if err != nil {
		t.Fatal(err)
	}
	return notary{signer, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: trusted.Cert.Raw}))}
}

func (n notary) sign(t *testing.T, r *ociRegistry, path, digest string) {
	t.Helper()
	repository, err := remote.NewRepository(r.host + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	repository.PlainHTTP = r.via == http.DefaultTransport
	repository.Client = &auth.Client{Client: &http.Client{Transport: r.via}}
	_, err = notation.Sign(t.Context(), n.signer, notationregistry.NewRepository(repository), notation.SignOptions{
		SignerSignOptions: notation.SignerSignOptions{SignatureMediaType: jws.MediaTypeEnvelope}, ArtifactReference: r.host + "/" + path + "@" + digest,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// trustPolicy is one for all registries, of certificates of the Secret and of an identity.
func trustPolicy(level, identity string) string {
	stores := `"trustStores": ["ca:ours"], "trustedIdentities": ["` + identity + `"],`
	if level == "skip" {
		stores = ""
	}
	return `{"version": "1.0", "trustPolicies": [{"name": "all", "registryScopes": ["*"], ` + stores + ` "signatureVerification": {"level": "` + level + `"}}]}`
}

func ociNotation(t *testing.T, w *world) {
	r := newRegistry(t, false, nil)
	n := newNotary(t)
	for name, data := range map[string]map[string]string{
		"notation-strict":     {"trustpolicy.json": trustPolicy("strict", "*"), "ours.crt": n.root},
		"notation-permissive": {"trustpolicy.json": trustPolicy("permissive", "*"), "ours.pem": n.root},
		"notation-audit":      {"trustpolicy.json": trustPolicy("audit", "*"), "ours.pem": n.root},
		"notation-skip":       {"trustpolicy.json": trustPolicy("skip", ""), "ours.pem": n.root},
		"notation-other":      {"trustpolicy.json": trustPolicy("strict", "*"), "theirs.crt": newNotaryRoot(t)},
		"notation-somebody":   {"trustpolicy.json": trustPolicy("strict", "x509.subject: C=US, ST=WA, O=Somebody"), "ours.crt": n.root},
		"notation-malformed":  {"trustpolicy.json": `{"version": "9"}`, "ours.crt": n.root},
		"notation-text":       {"trustpolicy.json": "{", "ours.crt": n.root},
		"notation-no-cert":    {"trustpolicy.json": trustPolicy("strict", "*"), "ours.crt": "nonsense"},
	} {
		w.secret(name, data)
	}
	push := func(path string) string {
		return r.push(t, "notation/"+path, "latest", map[string]string{"path": path}, layer{fluxLayer, tarred(t, map[string]string{"a": path}), nil})
	}
	signed, unsigned := push("signed"), push("unsigned")
	n.sign(t, r, "notation/signed", signed)
	spec := func(path, secret string) sourcev1.OCIRepositorySpec {
		return sourcev1.OCIRepositorySpec{URL: "oci://" + r.host + "/notation/" + path, Verify: &sourcev1.OCIRepositoryVerification{Provider: "notation", SecretRef: local(secret)}}
	}
	for _, level := range []string{"strict", "permissive", "audit"} {
		obj := awaitObject(w, level, w.createOCI("notation-"+level, spec("signed", "notation-"+level)), ociAt("latest@"+signed))
		if !apimeta.IsStatusConditionTrue(obj.Status.Conditions, "SourceVerified") {
			t.Errorf("%s: %+v", level, obj.Status.Conditions)
		}
	}
	skipped := awaitObject(w, "skip", w.createOCI("notation-skip", spec("unsigned", "notation-skip")), ociAt("latest@"+unsigned))
	if c := apimeta.FindStatusCondition(skipped.Status.Conditions, "SourceVerified"); c != nil {
		t.Errorf("what need not be verified is marked: %+v", c)
	}
	const refused = "failed to verify the signature using provider 'notation': "
	for name, c := range map[string]struct {
		path, secret, text string
	}{
		"unsigned":        {"unsigned", "notation-strict", refused + "no signature is associated with"},
		"another-root":    {"signed", "notation-other", "does not contain any trusted certificate"},
		"another-subject": {"signed", "notation-somebody", "trusted identities"},
		"malformed":       {"signed", "notation-malformed", "'trustpolicy.json' is no trust policy"},
		"text":            {"signed", "notation-text", "'trustpolicy.json' is no trust policy"},
		"no-cert":         {"signed", "notation-no-cert", "'ours.crt' is no certificate in PEM form"},
		"no-secret":       {"signed", "notation-later", "failed to get secret 'default/notation-later'"},
	} {
		obj := awaitObject(w, name, w.createOCI("notation-not-"+name, spec(c.path, c.secret)), ociFails("SourceVerified", "VerificationError", c.text))
		if obj.Status.Artifact != nil {
			t.Errorf("%s: an artifact that is not verified was stored", name)
		}
	}
	w.secret("notation-later", map[string]string{"trustpolicy.json": trustPolicy("strict", "*"), "ours.crt": n.root})
	awaitObject(w, "the Secret that came later", &sourcev1.OCIRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "notation-not-no-secret"}}, ociAt("latest@"+signed))
}

// newNotaryRoot returns the certificate of an authority that signed nothing.
func newNotaryRoot(t *testing.T) string {
	t.Helper()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: testhelper.GetECRootCertificate().Cert.Raw}))
}
