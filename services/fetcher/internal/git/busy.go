package git

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// maxWait bounds how long a server can make itself be waited for.
const maxWait = time.Hour

// BusyError says that a server wants no request for a while (RFC 9110, Retry-After).
type BusyError struct {
	// Status of the answer that said so.
	Status int
	// Wait is how long from now; an hour at most.
	Wait time.Duration
}

// Error implements error. It names no time, so that it stays the same while it lasts.
func (b *BusyError) Error() string { return fmt.Sprintf("the server asks to wait (HTTP %d)", b.Status) }

// retryAfter returns how long an answer asks to wait; nothing if it does not.
func retryAfter(res *http.Response) time.Duration {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	said := res.Header.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(said, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(said); err == nil {
		wait = time.Until(at)
	}
	return max(0, min(wait, maxWait))
}

// refusal is a BusyError that is remembered.
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
	return origin(u) + " " + remote.Scope
}

// heed remembers that a server asked to wait.
func (c *Client) heed(remote Remote, err error, now time.Time) {
	var busy *BusyError
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
		return &BusyError{Status: r.status, Wait: r.until.Sub(now)}
	}
	return nil
}
