package transport

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxWait bounds how long a server can make itself be waited for.
const maxWait = time.Hour

// BusyError says that a server wants no request for a while (RFC 9110, Retry-After).
type BusyError struct {
	// Host of the server, as HostOf has it.
	Host string
	// Status of the answer that said so.
	Status int
	// Until then; an hour from the answer at most.
	Until time.Time
}

// Error implements error. It stays the same while it lasts.
func (b *BusyError) Error() string {
	return fmt.Sprintf("%s asks to wait until %s (HTTP %d)", b.Host, b.Until.UTC().Format(time.RFC3339), b.Status)
}

// busy returns what an answer asks for, nil when it does not ask to wait.
func busy(res *http.Response) *BusyError {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return nil
	}
	said, now := res.Header.Get("Retry-After"), time.Now()
	var until time.Time
	if seconds, err := strconv.ParseUint(said, 10, 31); err == nil {
		until = now.Add(time.Duration(seconds) * time.Second)
	} else if at, err := http.ParseTime(said); err == nil {
		until = at
	}
	if !until.After(now) {
		return nil
	}
	if last := now.Add(maxWait); until.After(last) {
		until = last
	}
	return &BusyError{Host: HostOf(res.Request.URL), Status: res.StatusCode, Until: until}
}

// Road is how servers are asked: by which proxy, and as whom. They count requests by it, so
// what one of them says to who asks on a road counts for all who do.
type Road struct {
	// Proxy is its URL with its login, empty for none.
	Proxy string
	// User and Password, Token and Certificate are what is presented, or say whose they are
	// where they change from time to time.
	User, Password, Token, Certificate string
}

// RoadOf returns the road of who uses the data of a certSecretRef and of a proxySecretRef, and
// presents nothing else; each may be nil.
func RoadOf(tlsData, proxyData map[string][]byte) (Road, error) {
	cert, _ := identity(tlsData)
	road := Road{Certificate: string(cert)}
	if proxyData == nil {
		return road, nil
	}
	proxy, err := Proxy(proxyData)
	if err != nil {
		return road, err
	}
	road.Proxy = proxy.String()
	return road, nil
}

// Quiet knows which servers asked to be left alone on which roads. The zero value knows of
// none. It is safe for concurrent use.
type Quiet struct {
	// Logger is told of each; slog's default when nil.
	Logger *slog.Logger

	mu    sync.Mutex
	known map[address]*BusyError
}

type address struct {
	road Road
	host string
}

// Over sends requests on a road by via, but none to a server that asked for that: they
// fail with a *BusyError, and so does a request that is answered so.
func (q *Quiet) Over(road Road, via http.RoundTripper) http.RoundTripper {
	return courteous{quiet: q, road: road, via: via}
}

type courteous struct {
	quiet *Quiet
	road  Road
	via   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (c courteous) RoundTrip(r *http.Request) (*http.Response, error) {
	at := address{c.road, HostOf(r.URL)}
	if busy := c.quiet.asked(at, time.Now()); busy != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as whoever sends it would
		}
		return nil, busy
	}
	res, err := c.via.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if busy := busy(res); busy != nil {
		_ = res.Body.Close() // it was only read
		return nil, c.quiet.heed(at, busy)
	}
	return res, nil
}

// CloseIdleConnections lets a client close those of via.
func (c courteous) CloseIdleConnections() {
	if via, ok := c.via.(interface{ CloseIdleConnections() }); ok {
		via.CloseIdleConnections()
	}
}

// asked returns what a server asked for, nil when it is to be asked.
func (q *Quiet) asked(at address, now time.Time) *BusyError {
	q.mu.Lock()
	defer q.mu.Unlock()
	if busy := q.known[at]; busy != nil && busy.Until.After(now) {
		return busy
	}
	return nil
}

// heed remembers that a server asked to wait, and returns until when: the latest that it said.
func (q *Quiet) heed(at address, said *BusyError) *BusyError {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.known == nil {
		q.known = map[address]*BusyError{}
	}
	maps.DeleteFunc(q.known, func(_ address, b *BusyError) bool { return !b.Until.After(now) })
	before := q.known[at]
	if before != nil && !said.Until.After(before.Until) {
		return before
	}
	q.known[at] = said
	if before == nil {
		logger := q.Logger
		if logger == nil {
			logger = slog.Default()
		}
		logger.Warn("a server asks to be left alone for a while", "host", said.Host, "status", said.Status, "until", said.Until.UTC().Format(time.RFC3339))
	}
	return said
}
