package handle

import (
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/events"
)

// compared remembers when the objects of a key were last compared that no watch vouches
// for. A restart forgets it, so that they are compared once more.
type compared struct {
	mu sync.Mutex
	at map[events.Key]time.Time
}

func (c *compared) note(key events.Key, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil {
		c.at = map[events.Key]time.Time{}
	}
	c.at[key] = now
}

// left returns in how long the objects are to be compared again; not more than zero
// when that is now.
func (c *compared) left(key events.Key, every time.Duration, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at[key].Add(every).Sub(now)
}

func (c *compared) forget(key events.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.at, key)
}
