package bus

import (
	"context"
	"sync"

	"github.com/sluice-gitops/sluice/events"
)

// Gone makes a process forget keys that are gone, also when work on one is under way:
// what that remembers is dropped when it ends. It may be used concurrently.
type Gone struct {
	forget func(events.Key)

	mu   sync.Mutex
	busy map[events.Key]*visits
}

// visits is the work on a key that is under way, and whether the key went meanwhile.
type visits struct {
	n    int
	gone bool
}

// NewGone returns a Gone that calls forget, which must not block.
func NewGone(forget func(events.Key)) *Gone {
	return &Gone{forget: forget, busy: map[events.Key]*visits{}}
}

// Forget says that a key is gone.
func (g *Gone) Forget(key events.Key) {
	g.mu.Lock()
	if v := g.busy[key]; v != nil {
		v.gone = true
	}
	g.mu.Unlock()
	g.forget(key)
}

// Around returns work that ends with what Forget asked for meanwhile.
func (g *Gone) Around(work Handler) Handler {
	return func(ctx context.Context, check Check) (Result, error) {
		g.enter(check.Key)
		defer g.leave(check.Key)
		return work(ctx, check)
	}
}

func (g *Gone) enter(key events.Key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.busy[key]
	if v == nil {
		v = &visits{}
		g.busy[key] = v
	}
	v.n++
}

func (g *Gone) leave(key events.Key) {
	g.mu.Lock()
	v := g.busy[key]
	if v.n--; v.n == 0 {
		delete(g.busy, key)
	}
	gone := v.gone // Forget may set it while others are still at work
	g.mu.Unlock()
	if gone {
		g.forget(key)
	}
}
