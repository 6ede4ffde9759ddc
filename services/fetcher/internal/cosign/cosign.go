// Package cosign verifies signatures of OCI artifacts, as cosign stores them: under a tag
// made from the artifact's digest (cosign 1 and 2), and as sigstore bundles that refer to
// the artifact (cosign 3). They are made with a key, which as in Flux needs no entry in a
// transparency log, or keyless: with a certificate for an identity, which does.
package cosign

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
)

// Formats that cosign writes.
const (
	payloadType    = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureField = "dev.cosignproject.cosign/signature"
	bundleType     = "application/vnd.dev.sigstore.bundle"
	statementType  = "application/vnd.in-toto+json"

	// maxPayload bounds what is read of one signature, maxSignatures how many are, and maxEnvelope how many of one
	// bundle: the format has one.
	maxPayload, maxSignatures, maxEnvelope = 1 << 20, 100, 10
)

// Keys are public keys, each of which is trusted.
type Keys []crypto.PublicKey

// ParseKeys returns the keys that are in the *.pub entries of a Secret, in PEM form.
func ParseKeys(data map[string][]byte) (Keys, error) {
	var keys Keys
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if !strings.HasSuffix(name, ".pub") {
			continue
		}
		block, _ := pem.Decode(data[name])
		if block == nil {
			return nil, fmt.Errorf("'%s' is no public key in PEM form", name)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("'%s' is no public key: %w", name, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key whose name ends with '.pub'")
	}
	return keys, nil
}

// registry reads the repository of the artifact.
type registry interface {
	Digest(ctx context.Context, tag string) (string, error)
	Manifest(ctx context.Context, digest string) (oci.Manifest, error)
	Blob(ctx context.Context, digest v1.Hash, limit int64) ([]byte, error)
	Referrers(ctx context.Context, digest string) ([]v1.Descriptor, error)
}

// ErrUnsigned says that no signature was found that is trusted.
var ErrUnsigned = errors.New("no matching signatures")

// judge says whether a signature is trusted, nil when it is.
type judge interface {
	// tagged judges one under the artifact's tag: a payload, and what belongs to it.
	tagged(payload, signature []byte, annotations map[string]string) error
	// bundled judges one in a bundle about the artifact with the digest.
	bundled(bundle []byte, digest string) error
}

// Verify returns nil when one of the keys signed the artifact with the digest.
func (k Keys) Verify(ctx context.Context, repository *oci.Repository, digest string) error {
	return search(ctx, k, repository, digest)
}

// search looks for a signature of the artifact that is trusted.
func search(ctx context.Context, j judge, r registry, digest string) error {
	refused := error(nil)
	for _, look := range []func(context.Context, judge, registry, string) (found bool, refused, err error){byTag, byBundle} {
		found, why, err := look(ctx, j, r, digest)
		if found || err != nil {
			return err
		}
		if why != nil {
			refused = why
		}
	}
	if refused != nil {
		return fmt.Errorf("%w: %w", ErrUnsigned, refused)
	}
	return ErrUnsigned
}

// byTag looks at the signatures under the artifact's tag.
func byTag(ctx context.Context, j judge, r registry, digest string) (found bool, refused, err error) {
	signatures, err := r.Digest(ctx, strings.Replace(digest, ":", "-", 1)+".sig")
	if absent(err) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, fmt.Errorf("look for signatures: %w", err)
	}
	manifest, err := r.Manifest(ctx, signatures)
	if err != nil {
		return false, nil, fmt.Errorf("read signatures: %w", err)
	}
	for _, layer := range manifest.Layers[:min(len(manifest.Layers), maxSignatures)] {
		signature, err := base64.StdEncoding.DecodeString(layer.Annotations[signatureField])
		if err != nil || string(layer.MediaType) != payloadType {
			continue
		}
		payload, err := r.Blob(ctx, layer.Digest, maxPayload)
		if err != nil {
			return false, nil, fmt.Errorf("read signatures: %w", err)
		}
		if claims(payload) != digest {
			continue
		}
		if refused = j.tagged(payload, signature, layer.Annotations); refused == nil {
			return true, nil, nil
		}
	}
	return false, refused, nil
}

// claims returns the digest that a payload is about, "" when it is no payload.
func claims(payload []byte) string {
	var p struct {
		Critical struct {
			Type  string `json:"type"`
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if json.Unmarshal(payload, &p) != nil || p.Critical.Type != "cosign container image signature" {
		return ""
	}
	return p.Critical.Image.Digest
}

// byBundle looks at the bundles that refer to the artifact.
func byBundle(ctx context.Context, j judge, r registry, digest string) (found bool, refused, err error) {
	referrers, err := r.Referrers(ctx, digest)
	if absent(err) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, fmt.Errorf("look for signature bundles: %w", err)
	}
	looked := 0
	for _, referrer := range referrers {
		if !strings.HasPrefix(referrer.ArtifactType, bundleType) {
			continue
		}
		if looked++; looked > maxSignatures {
			break
		}
		manifest, err := r.Manifest(ctx, referrer.Digest.String())
		if err != nil {
			return false, nil, fmt.Errorf("read signature bundle: %w", err)
		}
		if len(manifest.Layers) == 0 {
			continue
		}
		text, err := r.Blob(ctx, manifest.Layers[0].Digest, maxPayload)
		if err != nil {
			return false, nil, fmt.Errorf("read signature bundle: %w", err)
		}
		if refused = j.bundled(text, digest); refused == nil {
			return true, nil, nil
		}
	}
	return false, refused, nil
}

// errOtherKey says that a signature is of none of the keys.
var errOtherKey = errors.New("signed with another key")

func (k Keys) tagged(payload, signature []byte, _ map[string]string) error {
	if k.signed(payload, signature) {
		return nil
	}
	return errOtherKey
}

func (k Keys) bundled(text []byte, digest string) error {
	if k.bundle(text, digest) {
		return nil
	}
	return errOtherKey
}

// bundle says whether a bundle is a signature of the artifact by one of the keys.
func (k Keys) bundle(text []byte, digest string) bool {
	var b struct {
		Envelope struct {
			Payload    []byte `json:"payload"`
			Type       string `json:"payloadType"`
			Signatures []struct {
				Signature []byte `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if json.Unmarshal(text, &b) != nil || b.Envelope.Type != statementType {
		return false
	}
	var statement struct {
		Subject []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if json.Unmarshal(b.Envelope.Payload, &statement) != nil {
		return false
	}
	about := false
	for _, subject := range statement.Subject {
		about = about || "sha256:"+subject.Digest["sha256"] == digest
	}
	// What is signed is the payload with its type, as DSSE encodes them.
	signed := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(b.Envelope.Type), b.Envelope.Type, len(b.Envelope.Payload), b.Envelope.Payload)
	for _, s := range b.Envelope.Signatures[:min(len(b.Envelope.Signatures), maxEnvelope)] {
		if about && k.signed(signed, s.Signature) {
			return true
		}
	}
	return false
}

// signed says whether a signature of data is one of the keys'. There may be thousands, so the data are hashed once.
func (k Keys) signed(data, signature []byte) bool {
	short, middle, long := sha256.Sum256(data), sha512.Sum384(data), sha512.Sum512(data)
	return slices.ContainsFunc(k, func(key crypto.PublicKey) bool {
		return verifies(key, data, hashes{short[:], middle[:], long[:]}, signature)
	})
}

// hashes are the SHA-256, SHA-384 and SHA-512 of data.
type hashes struct{ short, middle, long []byte }

func verifies(key crypto.PublicKey, data []byte, h hashes, signature []byte) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		// A tool takes SHA-256 for every curve, or the hash of the curve's size.
		return ecdsa.VerifyASN1(key, h.short, signature) ||
			key.Params().BitSize == 384 && ecdsa.VerifyASN1(key, h.middle, signature) ||
			key.Params().BitSize == 521 && ecdsa.VerifyASN1(key, h.long, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, h.short, signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(key, data, signature)
	}
	return false
}

// absent says that the registry has no such thing.
func absent(err error) bool {
	var refused *transport.Error
	return errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound
}
