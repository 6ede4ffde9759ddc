// Package keys gives the applier the keyring that renders are sealed with: the
// data of one Secret in the runtime namespace, made when it is missing.
package keys

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/seal"
)

// Ring is a keyring that is read again when a key id is not in it.
type Ring struct {
	client    client.Client
	namespace string

	mu   sync.Mutex
	ring *seal.Keyring
}

// Fixed returns a Ring over a keyring that never changes.
func Fixed(ring *seal.Keyring) *Ring { return &Ring{ring: ring} }

// Load reads the keyring of a runtime namespace; when there is none it makes one.
// Of several that do so at once one wins and the others read what it made. c must
// read from the API server.
func Load(ctx context.Context, c client.Client, namespace string) (*Ring, error) {
	r := &Ring{client: c, namespace: namespace}
	ring, err := r.read(ctx)
	if apierrors.IsNotFound(err) {
		if err = r.create(ctx); err == nil {
			ring, err = r.read(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	r.ring = ring
	return r, nil
}

func (r *Ring) read(ctx context.Context) (*seal.Keyring, error) {
	secret := &corev1.Secret{}
	if err := r.client.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: seal.SecretName}, secret); err != nil {
		return nil, fmt.Errorf("read Secret %s/%s: %w", r.namespace, seal.SecretName, err)
	}
	ring, err := seal.ParseKeyring(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("read Secret %s/%s: %w", r.namespace, seal.SecretName, err)
	}
	return ring, nil
}

func (r *Ring) create(ctx context.Context) error {
	err := r.client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: seal.SecretName},
		Data:       seal.NewKeyringData(),
	})
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return nil
	case apierrors.IsNotFound(err):
		return fmt.Errorf("create Secret %s/%s: the namespace does not exist; create it or set create-runtime-namespace: %w", r.namespace, seal.SecretName, err)
	}
	return fmt.Errorf("create Secret %s/%s: %w", r.namespace, seal.SecretName, err)
}

// VerifyHead is seal's VerifyHead with the newest keys.
func (r *Ring) VerifyHead(ctx context.Context, token string, want seal.Identity) (seal.Head, error) {
	head, err := r.keyring().VerifyHead(token, want)
	if !errors.Is(err, seal.ErrUnknownKey) || r.client == nil {
		return head, err
	}
	if err := r.reload(ctx); err != nil {
		return head, err
	}
	return r.keyring().VerifyHead(token, want)
}

// Open is seal's Open with the newest keys.
func (r *Ring) Open(ctx context.Context, id seal.Identity, contentID string, sealed []byte) ([]byte, error) {
	return r.OpenWithin(ctx, id, contentID, sealed, seal.MaxPlain)
}

// OpenWithin is seal's OpenWithin with the newest keys.
func (r *Ring) OpenWithin(ctx context.Context, id seal.Identity, contentID string, sealed []byte, limit int) ([]byte, error) {
	plain, err := r.keyring().OpenWithin(id, contentID, sealed, limit)
	if !errors.Is(err, seal.ErrUnknownKey) || r.client == nil {
		return plain, err
	}
	if err := r.reload(ctx); err != nil {
		return nil, err
	}
	return r.keyring().OpenWithin(id, contentID, sealed, limit)
}

// Seal is seal's Seal.
func (r *Ring) Seal(id seal.Identity, contentID string, plain []byte) ([]byte, error) {
	return r.keyring().Seal(id, contentID, plain)
}

// SealAnswer seals an answer for an object and for the question that it answers.
func (r *Ring) SealAnswer(id seal.Identity, question, plain []byte) ([]byte, error) {
	ring := r.keyring()
	return ring.Seal(id, ring.ContentID(question), plain)
}

// SignStored is seal's SignStored.
func (r *Ring) SignStored(id seal.Identity, parts ...string) (string, error) {
	return r.keyring().SignStored(id, parts...)
}

// VerifyStored is seal's VerifyStored with the newest keys.
func (r *Ring) VerifyStored(ctx context.Context, id seal.Identity, token string, parts ...string) error {
	err := r.keyring().VerifyStored(id, token, parts...)
	if !errors.Is(err, seal.ErrUnknownKey) || r.client == nil {
		return err
	}
	if err := r.reload(ctx); err != nil {
		return err
	}
	return r.keyring().VerifyStored(id, token, parts...)
}

// Subkey is seal's Subkey.
func (r *Ring) Subkey(purpose string) ([]byte, error) { return r.keyring().Subkey(purpose) }

func (r *Ring) keyring() *seal.Keyring {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ring
}

func (r *Ring) reload(ctx context.Context) error {
	ring, err := r.read(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring = ring
	return nil
}
