package git

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// refusal is a transport.BusyError that is remembered.
type refusal struct {
	status int
	until  time.Time
}

// quota is what a server counts requests by: its own name and who asks. Others'
// requests to the same server go on.
func quota(remote Remote) string {
	u, err := ParseURL(remote.URL)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %x", origin(u), remote.reader())
}

// heed remembers that a server asked to wait.
func (c *Client) heed(remote Remote, err error, now time.Time) {
	var busy *transport.BusyError
	if !errors.As(err, &busy) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, r := range c.busy {
		if r.until.Before(now) {
			delete(c.busy, key)
		}
	}
	c.busy[quota(remote)] = refusal{status: busy.Status, until: now.Add(busy.Wait)}
}

// mayAsk refuses a request that the server does not want yet.
func (c *Client) mayAsk(remote Remote, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.busy[quota(remote)]; r.until.After(now) {
		return &transport.BusyError{Status: r.status, Wait: r.until.Sub(now)}
	}
	return nil
}
