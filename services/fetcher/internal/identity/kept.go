package identity

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

const (
	// maxKept credentials are kept at once, and none longer than maxAge.
	maxKept = 4096
	maxAge  = time.Hour
	// early is how much of their life is left when credentials are replaced, so that
	// a fetch that begins with them can end with them.
	early = 0.2
)

// kept credentials, until shortly before they end. Its zero value is ready to use.
type kept struct {
	mu      sync.Mutex
	entries map[[sha256.Size]byte]*entry
}

type entry struct {
	// asking is held by who asks for the credentials, so that many who need the same
	// ask once, and nobody waits for those of others.
	asking chan struct{}
	value  any
	until  time.Time
}

// get returns what ask returned for the same scope, as long as it lasts.
func (k *kept) get(ctx context.Context, scope []string, ask func(context.Context) (any, time.Time, error)) (any, error) {
	e := k.entry(scope)
	select {
	case e.asking <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-e.asking }()
	now := time.Now()
	if now.Before(e.until) {
		return e.value, nil
	}
	value, ends, err := ask(ctx)
	if err != nil {
		return nil, err
	}
	life := min(time.Duration(float64(ends.Sub(now))*(1-early)), maxAge)
	e.value, e.until = value, now.Add(life)
	return value, nil
}

func (k *kept) entry(scope []string) *entry {
	h := sha256.New()
	for _, part := range scope {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	key := [sha256.Size]byte(h.Sum(nil))
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.entries[key]; ok {
		return e
	}
	if k.entries == nil || len(k.entries) >= maxKept {
		k.entries = map[[sha256.Size]byte]*entry{}
	}
	e := &entry{asking: make(chan struct{}, 1)}
	k.entries[key] = e
	return e
}
