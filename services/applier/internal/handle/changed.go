package handle

import (
	"sync"

	"github.com/sluice-gitops/sluice/events"
)

// changed remembers what an attempt changed while it waits for health, for the
// event that ends it. Another replica, or a restart, ends it without the list.
type changed struct {
	mu  sync.Mutex
	all map[events.Key]changes
}

type changes struct {
	render string
	list   []events.Change
}

func (c *changed) put(key events.Key, render string, list []events.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[events.Key]changes{}
	}
	c.all[key] = changes{render: render, list: list}
}

// forget drops the list of an attempt that ended otherwise.
func (c *changed) forget(key events.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, key)
}

func (c *changed) take(key events.Key, render string) []events.Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.all[key]
	delete(c.all, key)
	if kept.render != render {
		return nil
	}
	return kept.list
}
