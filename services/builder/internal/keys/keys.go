// Package keys holds the keyring that renders are sealed with: a fixed one, or
// the one of a Kubernetes Secret, which may be rotated while the service runs.
package keys

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/seal"
)

// patience bounds the wait for the first look at the Secret.
const patience = 5 * time.Second

// Keys hands out the keyring. It is safe for concurrent use.
type Keys struct {
	fixed  *seal.Keyring
	reader client.Reader
	secret client.ObjectKey

	mu   sync.Mutex
	ring *seal.Keyring
	// version is that of the Secret that ring was read from.
	version string
}

// Fixed returns keys that never change.
func Fixed(ring *seal.Keyring) *Keys { return &Keys{fixed: ring} }

// FromSecret returns keys that are read from a Secret. The reader should watch it: it is
// asked for every build.
func FromSecret(r client.Reader, namespace string) *Keys {
	return &Keys{reader: r, secret: client.ObjectKey{Namespace: namespace, Name: seal.SecretName}}
}

// Keyring returns the keyring.
func (k *Keys) Keyring(ctx context.Context) (*seal.Keyring, error) {
	if k.fixed != nil {
		return k.fixed, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the cluster has not said yet what it holds"))
	defer cancel()
	var secret corev1.Secret
	if err := k.reader.Get(ctx, k.secret, &secret); err != nil {
		return nil, fmt.Errorf("read the sealing keys in Secret %s: %w", k.secret, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if version := string(secret.UID) + "/" + secret.ResourceVersion; k.ring == nil || version != k.version {
		ring, err := seal.ParseKeyring(secret.Data)
		if err != nil {
			return nil, fmt.Errorf("read the sealing keys in Secret %s: %w", k.secret, err)
		}
		k.ring, k.version = ring, version
	}
	return k.ring, nil
}

// Wait blocks until there is a keyring or ctx ends. It tells report, once a
// second, why there is none yet.
func (k *Keys) Wait(ctx context.Context, report func(error)) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		_, err := k.Keyring(ctx)
		if err == nil {
			return nil
		}
		report(err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
