package cosign

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
)

// What cosign 1 and 2 write beside a signature that was made without a key.
const (
	certificateField = "dev.sigstore.cosign/certificate"
	entryField       = "dev.sigstore.cosign/bundle"
)

// Identity is who may have signed: regular expressions for the issuer of the identity's token
// and for its subject.
type Identity struct{ Issuer, Subject string }

// Keyless trusts signatures with certificates that a trusted root issued to an identity.
type Keyless struct {
	verifier *verify.Verifier
	policy   []verify.PolicyOption
}

// NewKeyless returns what trusts signatures of any of the identities, and of every identity
// when there are none.
func NewKeyless(trusted root.TrustedMaterial, identities []Identity) (*Keyless, error) {
	options := []verify.VerifierOption{verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1)}
	if len(trusted.CTLogs()) > 0 { // a private root may have no log of certificates
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	verifier, err := verify.NewVerifier(trusted, options...)
	if err != nil {
		return nil, fmt.Errorf("use the trusted root: %w", err)
	}
	if len(identities) == 0 {
		identities = []Identity{{Issuer: ".*", Subject: ".*"}}
	}
	k := &Keyless{verifier: verifier}
	for _, i := range identities {
		identity, err := verify.NewShortCertificateIdentity("", i.Issuer, "", i.Subject)
		if err != nil {
			return nil, fmt.Errorf("matchOIDCIdentity: %w", err)
		}
		k.policy = append(k.policy, verify.WithCertificateIdentity(identity))
	}
	return k, nil
}

// Verify returns nil when one of the identities signed the artifact with the digest.
func (k *Keyless) Verify(ctx context.Context, repository *oci.Repository, digest string) error {
	return search(ctx, k, repository, digest)
}

func (k *Keyless) bundled(text []byte, digest string) error {
	var b bundle.Bundle
	if err := b.UnmarshalJSON(text); err != nil {
		return fmt.Errorf("read signature bundle: %w", err)
	}
	if b.GetDsseEnvelope() == nil {
		return errors.New("the signature bundle holds no statement")
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	if err != nil {
		return err
	}
	_, err = k.verifier.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest("sha256", sum), k.policy...))
	return err
}

func (k *Keyless) tagged(payload, signature []byte, annotations map[string]string) error {
	b, err := legacy(payload, signature, annotations)
	if err != nil {
		return err
	}
	_, err = k.verifier.Verify(b, verify.NewPolicy(verify.WithArtifact(strings.NewReader(string(payload))), k.policy...))
	return err
}

// legacy makes a bundle of what cosign 1 and 2 write in several places: the certificate, and
// the log's promise to have an entry of it.
func legacy(payload, signature []byte, annotations map[string]string) (*bundle.Bundle, error) {
	block, _ := pem.Decode([]byte(annotations[certificateField]))
	if block == nil {
		return nil, errors.New("the signature comes without a certificate: it was made with a key, which spec.verify.secretRef names")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read certificate of the signature: %w", err)
	}
	entry, err := logEntry(annotations[entryField])
	if err != nil {
		return nil, err
	}
	mediaType, err := bundle.MediaTypeString("0.1")
	if err != nil {
		return nil, err
	}
	return bundle.NewBundle(&bundlev1.Bundle{
		MediaType: mediaType,
		VerificationMaterial: &bundlev1.VerificationMaterial{
			Content: &bundlev1.VerificationMaterial_X509CertificateChain{X509CertificateChain: &commonv1.X509CertificateChain{
				Certificates: []*commonv1.X509Certificate{{RawBytes: certificate.Raw}},
			}},
			TlogEntries: []*rekorv1.TransparencyLogEntry{entry},
		},
		Content: &bundlev1.Bundle_MessageSignature{MessageSignature: &commonv1.MessageSignature{
			MessageDigest: &commonv1.HashOutput{Algorithm: commonv1.HashAlgorithm_SHA2_256, Digest: sum256(payload)},
			Signature:     signature,
		}},
	})
}

// logEntry reads the log's promise, as cosign writes it.
func logEntry(text string) (*rekorv1.TransparencyLogEntry, error) {
	var promise struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           string `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	var body []byte
	var kind struct {
		Kind    string `json:"kind"`
		Version string `json:"apiVersion"`
	}
	err := json.Unmarshal([]byte(text), &promise)
	if err == nil {
		body, err = base64.StdEncoding.DecodeString(promise.Payload.Body)
	}
	if err == nil {
		err = json.Unmarshal(body, &kind)
	}
	var id []byte
	if err == nil {
		id, err = hex.DecodeString(promise.Payload.LogID)
	}
	if err != nil {
		return nil, fmt.Errorf("read the transparency log's entry of the signature: %w", err)
	}
	return &rekorv1.TransparencyLogEntry{
		LogIndex: promise.Payload.LogIndex, LogId: &commonv1.LogId{KeyId: id}, IntegratedTime: promise.Payload.IntegratedTime,
		KindVersion:       &rekorv1.KindVersion{Kind: kind.Kind, Version: kind.Version},
		InclusionPromise:  &rekorv1.InclusionPromise{SignedEntryTimestamp: promise.SignedEntryTimestamp},
		CanonicalizedBody: body,
	}, nil
}
