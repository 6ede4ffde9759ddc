// Package keys holds the keyring that renders are sealed with: a fixed one, or
// the one of a Kubernetes Secret, which may be rotated while the service runs.
package keys

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/seal"
)

// SecretName is the Secret of the runtime namespace that holds the keyring.
const SecretName = "sluice-keys" //nolint:gosec // the name of an object

// fresh is for how long a keyring that was read is used: a new key is in use by
// then, and appliers look for keys they do not know at once.
const fresh = time.Minute

// Keys hands out the keyring. It is safe for concurrent use.
type Keys struct {
	fixed  *seal.Keyring
	reader client.Reader
	secret client.ObjectKey

	mu   sync.Mutex
	ring *seal.Keyring
	at   time.Time
}

// Fixed returns keys that never change.
func Fixed(ring *seal.Keyring) *Keys { return &Keys{fixed: ring} }

// FromSecret returns keys that are read from a Secret, from the API server itself.
func FromSecret(r client.Reader, namespace string) *Keys {
	return &Keys{reader: r, secret: client.ObjectKey{Namespace: namespace, Name: SecretName}}
}

// Keyring returns the keyring, at most a minute old.
func (k *Keys) Keyring(ctx context.Context) (*seal.Keyring, error) {
	if k.fixed != nil {
		return k.fixed, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ring != nil && time.Since(k.at) < fresh {
		return k.ring, nil
	}
	var secret corev1.Secret
	if err := k.reader.Get(ctx, k.secret, &secret); err != nil {
		return nil, fmt.Errorf("read the sealing keys in Secret %s: %w", k.secret, err)
	}
	ring, err := seal.ParseKeyring(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("read the sealing keys in Secret %s: %w", k.secret, err)
	}
	k.ring, k.at = ring, time.Now()
	return ring, nil
}

// Wait blocks until there is a keyring or ctx ends. It tells report, once a
// second, why there is none yet.
func (k *Keys) Wait(ctx context.Context, report func(error)) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		_, err := k.Keyring(ctx)
		report(err)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
