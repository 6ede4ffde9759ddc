// Package flight lets those who ask the same server the same thing, with the same
// credentials, share one answer.
package flight

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Keep is how long an answer stays for those who come after it was given.
const Keep = 10 * time.Second

// leastPatience is for how long a request is waited for at least.
const leastPatience = 100 * time.Millisecond

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
	// current is the newest request under way; nil when none is. requests is how many there
	// were.
	current  *request
	requests int
	// waiting are those whom its answer, or a later one, will tell.
	waiting []*asker[T]
	// last is an answer that is kept; nil when none is.
	last *shared[T]
}

// request is one that one of the askers makes.
type request struct {
	number int
	began  time.Time
}

// shared is an answer that was given.
type shared[T any] struct {
	value T
	began time.Time
	users int
}

// asker waits for the answer to a request from that number on. It is told once, either to ask
// or what another got.
type asker[T any] struct {
	from int
	told chan told[T]
}

type told[T any] struct {
	lead   *request
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

// ErrNotAsked is an error of who may not ask now. It says nothing about what there is.
var ErrNotAsked = errors.New("not asked")

// Do returns what ask returns, called by this call or by another one with the same key. An
// error is everybody's who waits for it, and kept for nobody; when the call that got it
// had been given up, or it is ErrNotAsked, another one asks again.
//
// A call waits for another one's request for half of the time that its context leaves it, and
// then makes one of its own, which is the one that is waited for then: so that a request that
// hangs holds up nobody but its own call.
func (g *Group[T]) Do(ctx context.Context, key Key, ask func() (T, error)) (Answer[T], error) {
	me := &asker[T]{told: make(chan told[T], 1)}
	l, kept := g.join(key, me, sinceOf(ctx))
	if kept != nil {
		return g.answer(kept, false), nil
	}
	patience := newPatience(ctx)
	defer patience.end()
	for {
		select {
		case result := <-me.told:
			if result.lead != nil {
				return g.lead(ctx, key, l, result.lead, ask)
			}
			if result.err != nil {
				return Answer[T]{}, result.err
			}
			return g.answer(result.answer, false), nil
		case <-patience.over():
			g.takeOver(l, me, patience.length)
			patience.renew()
		case <-ctx.Done():
			g.leave(key, l, me)
			return Answer[T]{}, context.Cause(ctx)
		}
	}
}

// patience is half of the time that a context leaves; without a deadline it never ends.
type patience struct {
	deadline time.Time
	length   time.Duration
	timer    *time.Timer
}

func newPatience(ctx context.Context) *patience {
	deadline, ok := ctx.Deadline()
	if !ok {
		return &patience{}
	}
	p := &patience{deadline: deadline}
	p.renew()
	return p
}

// renew begins it again, with half of what is left.
func (p *patience) renew() {
	p.end()
	p.length = time.Until(p.deadline) / 2
	p.timer = time.NewTimer(max(p.length, leastPatience))
}

func (p *patience) over() <-chan time.Time {
	if p.timer == nil {
		return nil
	}
	return p.timer.C
}

func (p *patience) end() {
	if p.timer != nil {
		p.timer.Stop()
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
	if l.last != nil && l.last.began.After(since) {
		l.last.users++
		return l, l.last
	}
	me.from = l.requests + 1
	if l.current != nil && l.current.began.After(since) {
		me.from = l.current.number
	}
	l.waiting = append(l.waiting, me)
	if l.current == nil {
		l.appoint(me)
	}
	return l, nil
}

// appoint lets one who waits ask. A request that was under way is waited for no more.
func (l *line[T]) appoint(one *asker[T]) {
	l.waiting = slices.DeleteFunc(l.waiting, func(a *asker[T]) bool { return a == one })
	l.requests++
	l.current = &request{number: l.requests, began: time.Now()}
	one.told <- told[T]{lead: l.current}
}

// takeOver lets one who still waits ask, if the request under way is as old as that.
func (g *Group[T]) takeOver(l *line[T], me *asker[T], age time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.Contains(l.waiting, me) && time.Since(l.current.began) >= age {
		l.appoint(me)
	}
}

func (g *Group[T]) lead(ctx context.Context, key Key, l *line[T], r *request, ask func() (T, error)) (_ Answer[T], err error) {
	var value T
	returned := false
	defer func() {
		if !returned { // ask panicked: that is this call's, and another one asks
			g.end(key, l, r)
		}
	}()
	value, err = ask()
	returned = true
	switch {
	case err == nil:
		return g.answer(g.give(key, l, r, value), true), nil
	case ctx.Err() == nil && !errors.Is(err, ErrNotAsked):
		g.fail(key, l, r, err)
	default:
		g.end(key, l, r)
	}
	return Answer[T]{}, err
}

// give gives an answer to all whom it will do.
func (g *Group[T]) give(key Key, l *line[T], r *request, value T) *shared[T] {
	g.mu.Lock()
	s := &shared[T]{value: value, began: r.began, users: 1}
	for _, other := range l.served(r) {
		s.users++
		other.told <- told[T]{answer: s}
	}
	old := g.keep(key, l, s)
	g.handOn(key, l, r)
	g.mu.Unlock()
	g.release(old)
	return s
}

// fail tells an error to all whom the answer would have done, unless another one is under way.
func (g *Group[T]) fail(key Key, l *line[T], r *request, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.current == r {
		for _, other := range l.served(r) {
			other.told <- told[T]{err: err}
		}
	}
	g.handOn(key, l, r)
}

// end ends a request without an answer.
func (g *Group[T]) end(key Key, l *line[T], r *request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handOn(key, l, r)
}

// served takes those out of the line whom the answer to a request will do.
func (l *line[T]) served(r *request) (served []*asker[T]) {
	var stay []*asker[T]
	for _, a := range l.waiting {
		if r.number >= a.from {
			served = append(served, a)
			continue
		}
		stay = append(stay, a)
	}
	l.waiting = stay
	return served
}

// keep keeps an answer for a while, if it is the youngest, and returns the one it takes the
// place of.
func (g *Group[T]) keep(key Key, l *line[T], s *shared[T]) (old *shared[T]) {
	if g.Keep <= 0 || l.last != nil && l.last.began.After(s.began) {
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
	l.waiting = slices.DeleteFunc(l.waiting, func(a *asker[T]) bool { return a == me })
	var given *shared[T]
	select {
	case result := <-me.told:
		given = result.answer
		if result.lead != nil {
			g.handOn(key, l, result.lead)
		}
	default:
	}
	g.mu.Unlock()
	g.release(given)
}

// handOn lets one of those who still wait ask, when a request ended that they waited for.
func (g *Group[T]) handOn(key Key, l *line[T], ended *request) {
	if l.current == ended {
		l.current = nil
		if len(l.waiting) > 0 {
			l.appoint(l.waiting[0])
		}
	}
	g.tidy(key, l)
}

// tidy forgets a line that nobody is in and that keeps nothing.
func (g *Group[T]) tidy(key Key, l *line[T]) {
	if l.current == nil && l.last == nil && g.lines[key] == l {
		delete(g.lines, key)
	}
}
