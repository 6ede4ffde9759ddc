package cosign

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// Spec is what an object says of verification.
type Spec struct {
	Provider  string
	SecretRef *meta.LocalObjectReference
}

// ErrUnsupported says that a spec asks for what is not served.
var ErrUnsupported = errors.New("not supported")

// Verify returns nil when the artifact with the digest is signed as a spec asks for.
func (s Spec) Verify(ctx context.Context, live client.Reader, namespace string, repository *oci.Repository, digest string) error {
	switch {
	case s.Provider != "cosign":
		return fmt.Errorf("spec.verify.provider %q is %w: use cosign with a key", s.Provider, ErrUnsupported)
	case s.SecretRef == nil:
		return fmt.Errorf("spec.verify without a secretRef, for keyless signatures, is %w: name a Secret with the public key", ErrUnsupported)
	}
	data, err := source.Secret(ctx, live, namespace, s.SecretRef.Name)
	if err != nil {
		return err
	}
	keys, err := ParseKeys(data)
	if err == nil {
		err = keys.Verify(ctx, repository, digest)
	} else {
		err = fmt.Errorf("secret '%s/%s': %w", namespace, s.SecretRef.Name, err)
	}
	if err != nil {
		return fmt.Errorf("failed to verify the signature using provider '%s': %w", s.Provider, source.Cause(ctx, err))
	}
	return nil
}
