// Package flight lets those who ask the same server the same thing, with the same
// credentials, share one answer.
package flight

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Keep is how long an answer stays for those who come after it was given.
const Keep = 10 * time.Second

type since struct{}

// Since returns a context for work that an answer will do for which was asked for after
// that time. Without it only answers do that were asked for after the work
// began to wait for one.
func Since(ctx context.Context, at time.Time) context.Context {
	return context.WithValue(ctx, since{}, at)
}

func sinceOf(ctx context.Context) time.Time {
	if at, ok := ctx.Value(since{}).(time.Time); ok {
		return at
	}
	return time.Now()
}

// Key says what is asked, of whom, and with which credentials.
type Key [sha256.Size]byte

// KeyOf returns the key of parts, which can be written as JSON.
func KeyOf(parts ...any) (Key, error) {
	parts = slices.Clone(parts)
	for i, part := range parts {
		if s, ok := part.(string); ok {
			parts[i] = struct{ Text []byte }{[]byte(s)} // as text, different bytes that are none would be the same
		}
	}
	text, err := json.Marshal(parts)
	if err != nil {
		return Key{}, fmt.Errorf("compare what is asked: %w", err)
	}
	return Key(sha256.Sum256(text)), nil
}

// Group shares answers. The zero value keeps none after they were given and drops none.
// It is safe for concurrent use.
type Group[T any] struct {
	// Keep is how long an answer stays.
	Keep time.Duration
	// Drop is told an answer that nobody uses any more; may be nil.
	Drop func(T)

	mu    sync.Mutex
	lines map[Key]*line[T]
}

// line is who asks one thing.
type line[T any] struct {
	// current get the answer under way, which was asked for at began, zero while it was
	// not yet; one of them asks.
	current []*asker[T]
	began   time.Time
	// next came too late for that and wait for the one after it.
	next []*asker[T]
	// last is an answer that is kept; nil when none is.
	last *shared[T]
}

// shared is an answer that was given.
type shared[T any] struct {
	value T
	began time.Time
	users int
}

// asker is told once, either that it is to ask or what another got.
type asker[T any] struct{ told chan told[T] }

type told[T any] struct {
	lead   bool
	answer *shared[T]
	err    error
}

// Answer is what was got. Close it when it is no longer used.
type Answer[T any] struct {
	Value T
	// Own says that it was got by this call, not by another one.
	Own bool

	close func()
}

// Close gives the answer back. It may be called more than once.
func (a Answer[T]) Close() {
	if a.close != nil {
		a.close()
	}
}

// Do returns what ask returns, called by this call or by another one with the same key. An
// error is everybody's who waits for it, and kept for nobody; when the call that got it
// had been given up, another one asks again.
func (g *Group[T]) Do(ctx context.Context, key Key, ask func() (T, error)) (Answer[T], error) {
	me := &asker[T]{told: make(chan told[T], 1)}
	l, kept := g.join(key, me, sinceOf(ctx))
	if kept != nil {
		return g.answer(kept, false), nil
	}
	select {
	case result := <-me.told:
		if result.lead {
			return g.lead(ctx, key, l, me, ask)
		}
		if result.err != nil {
			return Answer[T]{}, result.err
		}
		return g.answer(result.answer, false), nil
	case <-ctx.Done():
		g.leave(key, l, me)
		return Answer[T]{}, context.Cause(ctx)
	}
}

// Forget drops what is kept for a key, because it turned out to be of no use.
func (g *Group[T]) Forget(key Key) {
	g.mu.Lock()
	var last *shared[T]
	if l := g.lines[key]; l != nil {
		last, l.last = l.last, nil
		g.tidy(key, l)
	}
	g.mu.Unlock()
	g.release(last)
}

func (g *Group[T]) answer(s *shared[T], own bool) Answer[T] {
	return Answer[T]{Value: s.value, Own: own, close: sync.OnceFunc(func() { g.release(s) })}
}

func (g *Group[T]) release(s *shared[T]) {
	if s == nil {
		return
	}
	g.mu.Lock()
	s.users--
	unused := s.users == 0
	g.mu.Unlock()
	if unused && g.Drop != nil {
		g.Drop(s.value)
	}
}

// join returns what is kept, if it will do, and else puts the asker into a line.
func (g *Group[T]) join(key Key, me *asker[T], since time.Time) (*line[T], *shared[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lines == nil {
		g.lines = map[Key]*line[T]{}
	}
	l := g.lines[key]
	if l == nil {
		l = &line[T]{}
		g.lines[key] = l
	}
	switch {
	case l.last != nil && l.last.began.After(since):
		l.last.users++
		return l, l.last
	case len(l.current) == 0:
		l.current = append(l.current, me)
		me.told <- told[T]{lead: true}
	case l.began.IsZero() || l.began.After(since):
		l.current = append(l.current, me)
	default:
		l.next = append(l.next, me)
	}
	return l, nil
}

func (g *Group[T]) lead(ctx context.Context, key Key, l *line[T], me *asker[T], ask func() (T, error)) (Answer[T], error) {
	began := time.Now()
	g.mu.Lock()
	l.began = began
	g.mu.Unlock()
	returned := false
	defer func() {
		if returned {
			return
		}
		g.mu.Lock() // ask panicked: that is this call's, and another one asks
		defer g.mu.Unlock()
		l.current, l.began = without(l.current, me), time.Time{}
		g.handOn(key, l)
	}()
	value, err := ask()
	returned = true
	g.mu.Lock()
	l.current, l.began = without(l.current, me), time.Time{}
	if err != nil && ctx.Err() != nil {
		g.handOn(key, l)
		g.mu.Unlock()
		return Answer[T]{}, err
	}
	result := told[T]{err: err}
	var old *shared[T]
	if err == nil {
		result.answer = &shared[T]{value: value, began: began, users: 1 + len(l.current)}
		old = g.keep(key, l, result.answer)
	}
	for _, other := range l.current {
		other.told <- result
	}
	l.current = nil
	g.handOn(key, l)
	g.mu.Unlock()
	g.release(old)
	if err != nil {
		return Answer[T]{}, err
	}
	return g.answer(result.answer, true), nil
}

// keep keeps an answer for a while, and returns the one it takes the place of.
func (g *Group[T]) keep(key Key, l *line[T], s *shared[T]) (old *shared[T]) {
	if g.Keep <= 0 {
		return nil
	}
	old, l.last = l.last, s
	s.users++
	time.AfterFunc(g.Keep, func() {
		g.mu.Lock()
		mine := l.last == s
		if mine {
			l.last = nil
			g.tidy(key, l)
		}
		g.mu.Unlock()
		if mine {
			g.release(s)
		}
	})
	return old
}

// leave takes an asker out that waits no longer. If it was just told to ask, another does; if
// it was told an answer, it gives that back.
func (g *Group[T]) leave(key Key, l *line[T], me *asker[T]) {
	g.mu.Lock()
	l.current, l.next = without(l.current, me), without(l.next, me)
	var given *shared[T]
	select {
	case result := <-me.told:
		given = result.answer
		if result.lead {
			g.handOn(key, l)
		}
	default:
	}
	g.mu.Unlock()
	g.release(given)
}

// handOn lets one of those who still wait for the current answer ask for it, or the next begin.
func (g *Group[T]) handOn(key Key, l *line[T]) {
	if len(l.current) == 0 {
		l.current, l.next = l.next, nil
	}
	if len(l.current) > 0 {
		l.current[0].told <- told[T]{lead: true}
		return
	}
	g.tidy(key, l)
}

// tidy forgets a line that nobody is in and that keeps nothing.
func (g *Group[T]) tidy(key Key, l *line[T]) {
	if len(l.current) == 0 && l.last == nil && g.lines[key] == l {
		delete(g.lines, key)
	}
}

func without[T any](all []*asker[T], one *asker[T]) []*asker[T] {
	return slices.DeleteFunc(all, func(a *asker[T]) bool { return a == one })
}
