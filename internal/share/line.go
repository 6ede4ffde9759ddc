// Package share gives out a fixed number of places, such as workers, so that a tenant
// that could use them all does not keep another one waiting.
package share

import (
	"context"
	"slices"
	"sync"
)

// Line is who waits for a place. Whoever holds the fewest goes first, and among
// equals who came first. It is safe for concurrent use.
type Line struct {
	places, each int

	mu      sync.Mutex
	free    int
	held    map[string]int
	waiting []*Wait
}

// New returns a line for a number of places of which one tenant may hold each. Where
// each is less than places, a tenant takes a further place only while it holds less
// than twice as many as are free: however many tenants are busy, one that holds none
// finds one free.
func New(places, each int) *Line {
	return &Line{places: places, each: min(each, places), free: places, held: map[string]int{}}
}

// Wait is one request for a place.
type Wait struct {
	tenant  string
	granted chan struct{}
}

// Granted is closed when the place is had. It is the caller's then, until Leave.
func (w *Wait) Granted() <-chan struct{} { return w.granted }

// Join asks for a place.
func (l *Line) Join(tenant string) *Wait {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &Wait{tenant: tenant, granted: make(chan struct{})}
	l.waiting = append(l.waiting, w)
	l.grant()
	return w
}

// Enter waits for a place until the context ends, whose cause it then returns.
func (l *Line) Enter(ctx context.Context, tenant string) error {
	w := l.Join(tenant)
	select {
	case <-w.Granted():
		return nil
	case <-ctx.Done():
	}
	if !l.Withdraw(w) {
		l.Leave(tenant)
	}
	return context.Cause(ctx)
}

// Try takes a place if it can be had at once.
func (l *Line) Try(tenant string) bool { return !l.Withdraw(l.Join(tenant)) }

// Withdraw ends the wait. It returns false when the place was granted before: then it
// is the caller's.
func (l *Line) Withdraw(w *Wait) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiting, w)
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	return true
}

// Leave gives a tenant's place back.
func (l *Line) Leave(tenant string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free++
	if l.held[tenant]--; l.held[tenant] == 0 {
		delete(l.held, tenant)
	}
	l.grant()
}

// Held is how many places are taken.
func (l *Line) Held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.places - l.free
}

// Waiting is how many requests wait.
func (l *Line) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// grant serves the line as far as it goes.
func (l *Line) grant() {
	for {
		first := -1
		for i, w := range l.waiting {
			if l.allows(w.tenant) && (first < 0 || l.held[w.tenant] < l.held[l.waiting[first].tenant]) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		w := l.waiting[first]
		l.waiting = slices.Delete(l.waiting, first, first+1)
		l.free--
		l.held[w.tenant]++
		close(w.granted)
	}
}

func (l *Line) allows(tenant string) bool {
	held := l.held[tenant]
	return l.free > 0 && held < l.each && (l.each == l.places || held < 2*l.free)
}
