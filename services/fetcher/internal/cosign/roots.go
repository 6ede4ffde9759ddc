package cosign

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"sync"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
)

// Roots gives out what keyless signatures are trusted by. It is safe for concurrent use.
type Roots struct {
	// File is the trusted root to use where an object names none; Sigstore's public one,
	// which is read over the network, when empty.
	File string
	// Cache is a folder for what is read over the network.
	Cache string

	mu     sync.Mutex
	public root.TrustedMaterial
}

// Get returns the trusted root in text, in JSON form, or where that is empty the one to use
// by default.
func (r *Roots) Get(ctx context.Context, text []byte) (root.TrustedMaterial, error) {
	if len(text) == 0 && r.File != "" {
		var err error
		if text, err = os.ReadFile(r.File); err != nil {
			return nil, fmt.Errorf("sigstore-trusted-root: %w", err)
		}
	}
	if len(text) == 0 {
		return r.fetch(ctx)
	}
	trusted, err := root.NewTrustedRootFromJSON(text)
	if err != nil {
		return nil, fmt.Errorf("the trusted root cannot be read: %w", err)
	}
	return trusted, nil
}

// fetch returns the public root, which keeps itself up to date once it was read. What reads it
// does not end with a context, so it is left behind with ours.
func (r *Roots) fetch(ctx context.Context) (root.TrustedMaterial, error) {
	type result struct {
		trusted root.TrustedMaterial
		err     error
	}
	done := make(chan result, 1)
	go func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.public != nil {
			done <- result{trusted: r.public}
			return
		}
		live, err := root.NewLiveTrustedRoot(tuf.DefaultOptions().WithCachePath(r.Cache))
		if err != nil {
			done <- result{err: fmt.Errorf("read Sigstore's public trusted root: %w: allow the way to %s, or give a root in "+
				"spec.verify.trustedRootSecretRef or --sigstore-trusted-root", err, tuf.DefaultMirror)}
			return
		}
		r.public = live
		done <- result{trusted: live}
	}()
	select {
	case got := <-done:
		return got.trusted, got.err
	case <-ctx.Done():
		return nil, fmt.Errorf("read Sigstore's public trusted root: %w", context.Cause(ctx))
	}
}

func sum256(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}
