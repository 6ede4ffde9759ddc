package cosign

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata/fetcher"
)

// Roots gives out what keyless signatures are trusted by. It is safe for concurrent use.
type Roots struct {
	// File is the trusted root to use where an object names none; Sigstore's public one,
	// which is read over the network, when empty.
	File string
	// Cache is a folder for what is read over the network.
	Cache string

	mu sync.Mutex
	// public is the reading of the public root that is under way or did not fail; nil when there is none.
	public *reading
	// mirror is Sigstore's own when empty.
	mirror string
}

// patience is how long a request for a part of the public root may take.
const patience = time.Minute

// reading is one of the public root. The rest is there when done is closed.
type reading struct {
	done    chan struct{}
	trusted root.TrustedMaterial
	err     error
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
// does not end with a context, so it goes on without us, for those who come later.
func (r *Roots) fetch(ctx context.Context) (root.TrustedMaterial, error) {
	r.mu.Lock()
	if r.public == nil {
		r.public = &reading{done: make(chan struct{})}
		go r.read(r.public)
	}
	public := r.public
	r.mu.Unlock()
	select {
	case <-public.done:
		return public.trusted, public.err
	case <-ctx.Done():
		return nil, fmt.Errorf("read Sigstore's public trusted root: %w", context.Cause(ctx))
	}
}

func (r *Roots) read(into *reading) {
	defer close(into.done)
	options := tuf.DefaultOptions().WithCachePath(r.Cache)
	if r.mirror != "" {
		options.WithRepositoryBaseURL(r.mirror)
	}
	requests := fetcher.NewDefaultFetcher()
	requests.SetHTTPClient(&http.Client{Timeout: patience})
	trusted, err := root.NewLiveTrustedRoot(options.WithFetcher(requests))
	if err == nil {
		into.trusted = trusted
		return
	}
	into.err = fmt.Errorf("read Sigstore's public trusted root: %w: allow the way to %s, or give a root in "+
		"spec.verify.trustedRootSecretRef or --sigstore-trusted-root", err, tuf.DefaultMirror)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.public = nil
}

func sum256(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}
