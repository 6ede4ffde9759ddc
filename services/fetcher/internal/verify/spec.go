// Package verify finds out whether an OCI artifact is signed as an object asks for.
package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/cosign"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/notation"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// The providers.
const (
	providerCosign   = "cosign"
	providerNotation = "notation"
)

// rootKey is the entry of a Secret that holds a trusted root of Sigstore.
const rootKey = "trusted_root.json"

// Spec is what an object says of verification.
type Spec struct {
	Provider  string
	SecretRef *meta.LocalObjectReference
	// Identities are those of which one must have signed without a key; any when empty.
	Identities []sourcev1.OIDCIdentityMatch
	// TrustedRoot names a Secret with the trusted root of Sigstore to use.
	TrustedRoot *meta.LocalObjectReference
}

// Verifier verifies. It is safe for concurrent use.
type Verifier struct {
	// Live reads Secrets.
	Live client.Reader
	// Roots is what signatures without a key are trusted by.
	Roots *cosign.Roots
}

// Verify returns nil when the artifact with the digest is signed as a spec asks for; skipped
// is true when a trust policy says that it need not be.
func (v *Verifier) Verify(ctx context.Context, s Spec, namespace string, repository *oci.Repository, digest string) (skipped bool, err error) {
	name := s.Provider
	switch {
	case s.Provider == providerCosign && s.SecretRef == nil:
		name += " keyless"
		err = v.keyless(ctx, s, namespace, repository, digest)
	case s.Provider == providerCosign:
		err = v.keys(ctx, s, namespace, repository, digest)
	case s.Provider == providerNotation && s.SecretRef == nil:
		err = errors.New("spec.verify.secretRef is missing: name a Secret with 'trustpolicy.json' and the certificates that it trusts")
	case s.Provider == providerNotation:
		skipped, err = v.notation(ctx, s, namespace, repository, digest)
	default:
		return false, fmt.Errorf("spec.verify.provider %q is not known: use cosign or notation", s.Provider)
	}
	var secret *source.Error
	if errors.As(err, &secret) {
		return false, err
	}
	if err != nil {
		return false, fmt.Errorf("failed to verify the signature using provider '%s': %w", name, source.Cause(ctx, err))
	}
	return skipped, nil
}

func (v *Verifier) keys(ctx context.Context, s Spec, namespace string, repository *oci.Repository, digest string) error {
	data, err := source.Secret(ctx, v.Live, namespace, s.SecretRef.Name)
	if err != nil {
		return err
	}
	keys, err := cosign.ParseKeys(data)
	if err != nil {
		return fmt.Errorf("secret '%s/%s': %w", namespace, s.SecretRef.Name, err)
	}
	return keys.Verify(ctx, repository, digest)
}

func (v *Verifier) keyless(ctx context.Context, s Spec, namespace string, repository *oci.Repository, digest string) error {
	var text []byte
	if s.TrustedRoot != nil {
		data, err := source.Secret(ctx, v.Live, namespace, s.TrustedRoot.Name)
		if err != nil {
			return err
		}
		if text = data[rootKey]; len(text) == 0 {
			return fmt.Errorf("secret '%s/%s' has no key '%s'", namespace, s.TrustedRoot.Name, rootKey)
		}
	}
	root, err := v.Roots.Get(ctx, text)
	if err != nil {
		return err
	}
	identities := make([]cosign.Identity, len(s.Identities))
	for i, match := range s.Identities {
		identities[i] = cosign.Identity{Issuer: match.Issuer, Subject: match.Subject}
	}
	keyless, err := cosign.NewKeyless(root, identities)
	if err != nil {
		return err
	}
	return keyless.Verify(ctx, repository, digest)
}

func (v *Verifier) notation(ctx context.Context, s Spec, namespace string, repository *oci.Repository, digest string) (skipped bool, err error) {
	data, err := source.Secret(ctx, v.Live, namespace, s.SecretRef.Name)
	if err != nil {
		return false, err
	}
	policy, err := notation.Parse(data)
	if err != nil {
		return false, fmt.Errorf("secret '%s/%s': %w", namespace, s.SecretRef.Name, err)
	}
	return policy.Verify(ctx, repository, digest)
}
