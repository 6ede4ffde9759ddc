package objects

import (
	"context"
	"errors"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/builder/internal/decrypt"
)

// ErrDecryption says that decryption keys cannot be read as the spec says, which
// its author can help.
var ErrDecryption = errors.New("decryption failed")

// KeySecret names the Secret that a Kustomization's decryption keys come from: its
// own one, else fallback, which may be nil. ok is false when there is none.
func KeySecret(ks *kustomizev1.Kustomization, fallback *client.ObjectKey) (name client.ObjectKey, ok bool) {
	d := ks.Spec.Decryption
	switch {
	case d == nil:
		return client.ObjectKey{}, false
	case d.SecretRef != nil:
		return client.ObjectKey{Namespace: ks.Namespace, Name: d.SecretRef.Name}, true
	case fallback != nil:
		return *fallback, true
	}
	return client.ObjectKey{}, false
}

// DecryptionKeys returns the keys that a Kustomization is decrypted with. The
// operator's Secret serves with its age keys only, as in Flux.
func (r Reader) DecryptionKeys(ctx context.Context, ks *kustomizev1.Kustomization) (decrypt.Keys, error) {
	name, ok := KeySecret(ks, r.AgeSecret)
	if !ok {
		return decrypt.Keys{}, nil
	}
	var secret corev1.Secret
	err := r.Live.Get(ctx, name, &secret)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return decrypt.Keys{}, fmt.Errorf("%w: the keys of spec.decryption: %w", ErrDecryption, err)
	case err != nil:
		return decrypt.Keys{}, fmt.Errorf("read Secret %s: %w", name, err)
	}
	suffixes := []string{decrypt.AgeSuffix}
	if ks.Spec.Decryption.SecretRef != nil {
		suffixes = append(suffixes, decrypt.PGPSuffix)
	}
	return decrypt.Keys{Origin: "Secret " + name.String(), Entries: decrypt.Select(secret.Data, suffixes...)}, nil
}
