// Package credential keeps credentials that end by themselves until shortly before they do,
// so that many who need the same ask for them once, and nobody waits for those of others.
package credential

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
	// what begins with them can end with them.
	early = 0.2
)

// Key tells credentials apart. It may be made of secrets, and tells nothing of them.
type Key [sha256.Size]byte

// KeyOf returns the key of what was asked for.
func KeyOf(parts ...string) Key {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return Key(h.Sum(nil))
}

// Cache of credentials. Its zero value is ready to use, by many at once.
type Cache[T any] struct {
	mu      sync.Mutex
	entries map[Key]*entry[T]
}

type entry[T any] struct {
	// asking is held by who asks for the credentials.
	asking chan struct{}

	mu    sync.Mutex
	value T
	until time.Time
}

// Get returns what ask returned for the same key for four fifths of its life, an hour at
// most. What ask returns with it is when that life ends. An error is not kept.
func (c *Cache[T]) Get(ctx context.Context, key Key, ask func(context.Context) (T, time.Time, error)) (T, error) {
	e := c.entry(key)
	if value, ok := e.kept(); ok {
		return value, nil
	}
	var none T
	select {
	case e.asking <- struct{}{}:
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	defer func() { <-e.asking }()
	if value, ok := e.kept(); ok {
		return value, nil
	}
	now := time.Now()
	value, ends, err := ask(ctx)
	if err != nil {
		return none, err
	}
	e.keep(value, now.Add(min(time.Duration(float64(ends.Sub(now))*(1-early)), maxAge)))
	return value, nil
}

// Drop forgets what is kept for a key, if it is what was refused.
func (c *Cache[T]) Drop(key Key, refused func(T) bool) {
	e := c.entry(key)
	if value, ok := e.kept(); ok && refused(value) {
		e.keep(value, time.Time{})
	}
}

func (c *Cache[T]) entry(key Key) *entry[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		return e
	}
	if c.entries == nil || len(c.entries) >= maxKept {
		c.entries = map[Key]*entry[T]{}
	}
	e := &entry[T]{asking: make(chan struct{}, 1)}
	c.entries[key] = e
	return e
}

func (e *entry[T]) kept() (T, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.value, time.Now().Before(e.until)
}

func (e *entry[T]) keep(value T, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.value, e.until = value, until
}
