package handle

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// hosts bounds how many passes ask one host at once, so that a host that stalls leaves
// workers for the others.
type hosts struct {
	max int

	mu   sync.Mutex
	busy map[string]int
}

// enter takes a place. Without one left, done is nil.
func (h *hosts) enter(host string) (done func()) {
	if host == "" {
		return func() {}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy[host] >= h.max {
		return nil
	}
	if h.busy == nil {
		h.busy = map[string]int{}
	}
	h.busy[host]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.busy[host]--; h.busy[host] == 0 {
			delete(h.busy, host)
		}
	}
}

// urgent are checks that do not wait for a place: a push is news of the host itself.
func urgent(note bus.Note) bool { return note.Reason == "hook" || note.Reason == source.NoteCorrupt }

// later is when a pass without a place is tried again: soon, and not together with the
// others that wait.
func later() time.Duration {
	return 200*time.Millisecond + rand.N(400*time.Millisecond) //nolint:gosec // spreads load, guards nothing
}
