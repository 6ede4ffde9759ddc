package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k8s.io/client-go/util/connrotation"
)

const (
	// probeTimeout is how long a cluster may take to answer a probe.
	probeTimeout = 8 * time.Second
	// firstProbe and lastProbe bound the pause between probes of a dead cluster.
	firstProbe = time.Second
	lastProbe  = 30 * time.Second
)

// reach knows whether a cluster answers. A probe decides that, never a request of the
// work: one that fails only causes a probe. While the cluster is known to be dead, its
// requests fail without being sent, those of its watches too.
type reach struct {
	server string
	ping   func(context.Context) error
	// told is called whenever the cluster's state changed.
	told func()
	// dialer has the connections, so that what hangs on them can be ended.
	dialer *connrotation.Dialer
	kick   chan struct{}

	mu      sync.Mutex
	known   bool
	err     error
	settled chan struct{} // closed when the first probe has ended
}

func newReach(server string) *reach {
	dial := &net.Dialer{Timeout: probeTimeout, KeepAlive: 30 * time.Second}
	return &reach{
		server: server, dialer: connrotation.NewDialer(dial.DialContext),
		kick: make(chan struct{}, 1), settled: make(chan struct{}),
	}
}

// run probes until ctx ends: once, whenever a request failed, and a dead cluster again
// and again.
func (r *reach) run(ctx context.Context) {
	pause := firstProbe
	for {
		if r.probe(ctx) == nil {
			pause = firstProbe
			select {
			case <-r.kick:
				continue
			case <-ctx.Done():
				return
			}
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		pause = min(2*pause, lastProbe)
	}
}

type probing struct{}

func (r *reach) probe(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(context.WithValue(ctx, probing{}, true), probeTimeout)
	defer cancel()
	err := r.ping(bounded)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("cannot reach cluster %s: %w", r.server, cause(bounded, err))
	}
	r.mu.Lock()
	changed := !r.known || (r.err == nil) != (err == nil)
	if !r.known {
		close(r.settled)
	}
	r.known, r.err = true, err
	r.mu.Unlock()
	if err != nil {
		r.dialer.CloseAll()
	}
	if changed {
		r.told()
	}
	return err
}

// end makes every request fail, those under way too.
func (r *reach) end() {
	r.mu.Lock()
	r.known, r.err = true, fmt.Errorf("the connection to cluster %s is not in use any more", r.server)
	r.mu.Unlock()
	r.dialer.CloseAll()
}

// cause says why a probe failed, without the address that the message has already.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("no answer within %s", probeTimeout)
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// state returns whether a probe has ended, and what it found.
func (r *reach) state() (known bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known, r.err
}

// wrap makes requests depend on, and report to, what is known of the cluster.
func (r *reach) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Context().Value(probing{}) != nil {
			return next.RoundTrip(req)
		}
		if _, err := r.state(); err != nil {
			return nil, err
		}
		resp, err := next.RoundTrip(req)
		if err != nil && !errors.Is(err, context.Canceled) {
			select {
			case r.kick <- struct{}{}:
			default:
			}
		}
		return resp, err
	})
}

// dial opens a connection, unless the cluster is known to be dead: the HTTP client sends
// a request again by itself whose connection was closed.
func (r *reach) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := r.state(); err != nil && ctx.Value(probing{}) == nil {
		return nil, err
	}
	return r.dialer.DialContext(ctx, network, address)
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
