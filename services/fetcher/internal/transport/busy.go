package transport

import (
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

// Busy returns a *BusyError when an answer asks to wait, nil when it does not.
func Busy(res *http.Response) error {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return nil
	}
	said := res.Header.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(said, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(said); err == nil {
		wait = time.Until(at)
	}
	if wait <= 0 {
		return nil
	}
	return &BusyError{Status: res.StatusCode, Wait: min(wait, maxWait)}
}
