package share

import (
	"context"
	"slices"
	"sync"
)

// Room is something of which each taker needs another amount, such as memory. Whoever holds the least goes first, and
// among equals who came first. It is safe for concurrent use.
type Room struct {
	each int

	mu      sync.Mutex
	free    int
	held    map[string]int
	waiting []*want
}

// want is an amount that a tenant waits for.
type want struct {
	tenant  string
	amount  int
	granted chan struct{}
}

// NewRoom returns a room of a size of which one tenant may hold each.
func NewRoom(size, each int) *Room {
	return &Room{each: min(each, size), free: size, held: map[string]int{}}
}

// Enter waits for an amount until the context ends, whose cause it then returns. No more than a tenant may hold is
// ever had.
func (r *Room) Enter(ctx context.Context, tenant string, amount int) error {
	w := &want{tenant: tenant, amount: amount, granted: make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, w)
	r.grant()
	r.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	if !r.withdraw(w) {
		r.Leave(tenant, amount)
	}
	return context.Cause(ctx)
}

// Leave gives an amount back that a tenant holds, or a part of it.
func (r *Room) Leave(tenant string, amount int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free += amount
	if r.held[tenant] -= amount; r.held[tenant] == 0 {
		delete(r.held, tenant)
	}
	r.grant()
}

// withdraw ends a wait. It returns false when the amount was granted before.
func (r *Room) withdraw(w *want) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.waiting, w)
	if i < 0 {
		return false
	}
	r.waiting = slices.Delete(r.waiting, i, i+1)
	r.grant() // it may have held up others
	return true
}

// grant serves who waits as far as it goes: who is first and needs more than is free is waited for, since it might never
// be served otherwise.
func (r *Room) grant() {
	for {
		first := r.first()
		if first < 0 || r.waiting[first].amount > r.free {
			return
		}
		w := r.waiting[first]
		r.waiting = slices.Delete(r.waiting, first, first+1)
		r.free -= w.amount
		r.held[w.tenant] += w.amount
		close(w.granted)
	}
}

// first is whose turn it is, -1 when it is nobody's. Of a tenant that is the one who came first, if it may have that.
func (r *Room) first() int {
	first, seen := -1, map[string]bool{}
	for i, w := range r.waiting {
		if seen[w.tenant] {
			continue
		}
		seen[w.tenant] = true
		held := r.held[w.tenant]
		if held+w.amount <= r.each && (first < 0 || held < r.held[r.waiting[first].tenant]) {
			first = i
		}
	}
	return first
}
