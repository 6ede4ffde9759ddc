package handle

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/events"
)

// patience remembers how long a key has waited for its build. It is only about
// when to say so: forgetting it, as a restart does, delays that by one wait.
type patience struct {
	mu    sync.Mutex
	since map[events.Key]wait
}

type wait struct {
	token string
	since time.Time
}

// waited returns for how long a key has waited for the state that token names.
func (p *patience) waited(key events.Key, token string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since == nil {
		p.since = map[events.Key]wait{}
	}
	if w, ok := p.since[key]; ok && w.token == token {
		return now.Sub(w.since)
	}
	p.since[key] = wait{token: token, since: now}
	return 0
}

func (p *patience) forget(key events.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.since, key)
}

// jitter spreads an interval by a share of it in both directions.
func jitter(interval time.Duration, share float64) time.Duration {
	if share == 0 {
		share = 0.05
	}
	return interval + time.Duration((rand.Float64()*2-1)*share*float64(interval)) //nolint:gosec // spreads load, guards nothing
}
