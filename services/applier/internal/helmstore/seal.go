package helmstore

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gitops/sluice/internal/seal"
)

// sealAnnotation vouches for the Run of a release and for the release itself: whoever may write Secrets could write
// them, and has not the rights that the HelmRelease's actions are done with.
const sealAnnotation = "sluice.dev/run-seal"

// sign vouches for what a Secret holds, or for nothing when that has no Run.
func (s *Store) sign(secret *corev1.Secret) error {
	delete(secret.Annotations, sealAnnotation)
	run, ok := secret.Annotations[runAnnotation]
	if !ok {
		return nil
	}
	token, err := s.keys.SignStored(s.owner, s.sealed(secret, run)...)
	if err != nil {
		return err
	}
	secret.Annotations[sealAnnotation] = token
	return nil
}

// verify gives those revisions their Run that this HelmRelease's applier stored with it, under this very name.
func (s *Store) verify(ctx context.Context, all []*Record) error {
	for _, r := range all {
		run, ok := r.secret.Annotations[runAnnotation]
		if !ok {
			continue
		}
		err := s.keys.VerifyStored(ctx, s.owner, r.secret.Annotations[sealAnnotation], s.sealed(r.secret, run)...)
		if errors.Is(err, seal.ErrForged) || errors.Is(err, seal.ErrFormat) || errors.Is(err, seal.ErrUnknownKey) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", describe(r), err)
		}
		stored, err := r.Stored()
		if err != nil {
			return err
		}
		r.Run = &stored
	}
	return nil
}

// sealed is what a seal covers: the place, which has release and version in its name, and all that is read there but labels.
func (s *Store) sealed(secret *corev1.Secret, run string) []string {
	return []string{s.namespace, secret.Name, run, string(secret.Data[dataKey])}
}
