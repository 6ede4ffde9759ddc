package notation

import (
	"context"
	"errors"
	"fmt"

	"github.com/notaryproject/notation-go/registry"
	digests "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
)

const (
	// signatureType is the artifact type of signatures (Notary Project, signature specification).
	signatureType = "application/vnd.cncf.notary.signature"
	// maxEnvelope bounds what is read of one signature.
	maxEnvelope = 4 << 20
)

// signatures are those that refer to the artifacts of a repository. It implements
// registry.Repository for reading.
type signatures struct{ repository *oci.Repository }

var _ registry.Repository = signatures{}

// Resolve describes the artifact with a digest.
func (s signatures) Resolve(ctx context.Context, digest string) (ocispec.Descriptor, error) {
	manifest, err := s.repository.Manifest(ctx, digest)
	return ocispec.Descriptor{MediaType: string(manifest.MediaType), Digest: digests.Digest(digest), Size: manifest.Size}, err
}

// ListSignatures calls do with the signatures of an artifact.
func (s signatures) ListSignatures(ctx context.Context, artifact ocispec.Descriptor, do func([]ocispec.Descriptor) error) error {
	referrers, err := s.repository.Referrers(ctx, artifact.Digest.String())
	if err != nil {
		return err
	}
	var found []ocispec.Descriptor
	for _, r := range referrers {
		if r.ArtifactType == signatureType {
			found = append(found, ocispec.Descriptor{MediaType: string(r.MediaType), Digest: digests.Digest(r.Digest.String()), Size: r.Size})
		}
	}
	return do(found)
}

// FetchSignatureBlob reads a signature.
func (s signatures) FetchSignatureBlob(ctx context.Context, manifest ocispec.Descriptor) ([]byte, ocispec.Descriptor, error) {
	found, err := s.repository.Manifest(ctx, manifest.Digest.String())
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	if len(found.Layers) != 1 {
		return nil, ocispec.Descriptor{}, fmt.Errorf("signature %s has %d layers, not one", manifest.Digest, len(found.Layers))
	}
	layer := found.Layers[0]
	text, err := s.repository.Blob(ctx, layer.Digest, maxEnvelope)
	return text, ocispec.Descriptor{MediaType: string(layer.MediaType), Digest: digests.FromBytes(text), Size: int64(len(text))}, err
}

// PushSignature implements registry.Repository; nothing is signed here.
func (signatures) PushSignature(context.Context, string, []byte, ocispec.Descriptor, map[string]string) (blob, manifest ocispec.Descriptor, err error) {
	return blob, manifest, errors.New("signatures are only read")
}
