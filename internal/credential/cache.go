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
	// maxKept credentials are kept at once.
	maxKept = 4096
	// early is how much of their life is left when credentials are replaced, so that
	// what begins with them can end with them. Others are asked for after maxAge at the latest.
	early  = 0.2
	maxAge = time.Hour
	// margin is how long before they end credentials are used no more, although nobody gives
	// others.
	margin = 30 * time.Second
	// renewalTime bounds one try to replace credentials that can still be used, and retry is
	// the pause between two.
	renewalTime = 5 * time.Second
	retry       = 30 * time.Second
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
	// used is when they were needed last; the cache's lock guards it.
	used time.Time

	mu    sync.Mutex
	value T
	// renew is when they are to be replaced, ends when they are of no use any more.
	renew, ends time.Time
}

// Get returns what ask returned for the same key. What ask returns with it is when its life
// ends; who does not know says zero, which is taken as an hour. After four fifths of that life,
// an hour at most, it is asked for again; as long as that fails, the old is used until shortly
// before its end. An error is not kept.
func (c *Cache[T]) Get(ctx context.Context, key Key, ask func(context.Context) (T, time.Time, error)) (T, error) {
	e := c.entry(key)
	var none T
	switch value, usable, fresh := e.kept(); {
	case fresh:
		return value, nil
	case usable:
		select {
		case e.asking <- struct{}{}:
		default: // somebody replaces it
			return value, nil
		}
	default:
		select {
		case e.asking <- struct{}{}:
		case <-ctx.Done():
			return none, context.Cause(ctx)
		}
	}
	defer func() { <-e.asking }()
	value, usable, fresh := e.kept()
	if fresh {
		return value, nil
	}
	if usable {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, renewalTime)
		defer cancel()
	}
	now := time.Now()
	value, ends, err := ask(ctx)
	if err == nil {
		e.keep(value, now, ends)
		return value, nil
	}
	if value, usable := e.postpone(); usable {
		return value, nil
	}
	return none, err
}

// Kept returns what is kept for a key, as long as it can be used.
func (c *Cache[T]) Kept(key Key) (value T, ok bool) {
	if e := c.find(key); e != nil {
		value, ok, _ = e.kept()
	}
	return value, ok
}

// Drop forgets what is kept for a key, if it is what was refused.
func (c *Cache[T]) Drop(key Key, refused func(T) bool) {
	e := c.find(key)
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.usable() && refused(e.value) {
		var none T
		e.value, e.renew, e.ends = none, time.Time{}, time.Time{}
	}
}

// find returns the entry of a key, nil when there is none.
func (c *Cache[T]) find(key Key) *entry[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e != nil {
		e.used = time.Now()
	}
	return e
}

// entry returns the entry of a key, which is made when there is none.
func (c *Cache[T]) entry(key Key) *entry[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		if c.entries == nil {
			c.entries = map[Key]*entry[T]{}
		}
		if len(c.entries) >= maxKept {
			c.makeRoom()
		}
		e = &entry[T]{asking: make(chan struct{}, 1)}
		c.entries[key] = e
	}
	e.used = time.Now()
	return e
}

// makeRoom forgets what has ended, or else what nobody needed for longest.
func (c *Cache[T]) makeRoom() {
	var oldest Key
	var used time.Time
	full := true
	for key, e := range c.entries {
		if _, usable, _ := e.kept(); !usable && len(e.asking) == 0 {
			delete(c.entries, key)
			full = false
		}
		if used.IsZero() || e.used.Before(used) {
			oldest, used = key, e.used
		}
	}
	if full {
		delete(c.entries, oldest)
	}
}

// kept returns the credentials, whether they can be used, and whether they need not be replaced.
func (e *entry[T]) kept() (value T, usable, fresh bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.value, e.usable(), time.Now().Before(e.renew)
}

// usable is for who holds the lock.
func (e *entry[T]) usable() bool { return time.Now().Before(e.ends) }

func (e *entry[T]) keep(value T, now, ends time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ends.IsZero() { // so do keys of the environment, and providers that leave it out
		ends = now.Add(maxAge)
	}
	life := ends.Sub(now)
	whole := time.Duration(float64(life) * (1 - early))
	e.value, e.renew = value, now.Add(min(whole, maxAge))
	e.ends = now.Add(max(life-margin, whole))
}

// postpone returns the credentials that could not be replaced, if they can still be used: that
// is tried again later.
func (e *entry[T]) postpone() (value T, usable bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.usable() {
		e.renew = time.Now().Add(retry)
	}
	return e.value, e.usable()
}
