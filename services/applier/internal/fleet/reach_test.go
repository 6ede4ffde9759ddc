package fleet

import (
	"context"
	"errors"
	"net/http"
	"testing"
)

// TestTheGateStopsAllButProbes shows that nothing is sent to a cluster that is known
// to be dead, neither on a new connection nor on an old one.
func TestTheGateStopsAllButProbes(t *testing.T) {
	dead := errors.New("dead")
	probe := context.WithValue(t.Context(), probing{}, true)
	for _, c := range []struct {
		why   string
		ctx   context.Context
		state error
		sent  int
	}{
		{"a cluster that answers is asked", t.Context(), nil, 1},
		{"a dead one is not", t.Context(), dead, 0},
		{"a probe finds out whether it came back", probe, dead, 1},
	} {
		r := newReach("server")
		r.known, r.err = true, c.state
		sent := 0
		transport := r.wrap(roundTripper(func(*http.Request) (*http.Response, error) {
			sent++
			return &http.Response{Body: http.NoBody}, nil
		}))
		req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, "http://127.0.0.1:1", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err == nil {
			err = resp.Body.Close()
		}
		if sent != c.sent || errors.Is(err, dead) != (c.sent == 0) {
			t.Errorf("%s: %d requests, error %v", c.why, sent, err)
		}
		if _, err := r.dial(c.ctx, "tcp", "127.0.0.1:1"); errors.Is(err, dead) != (c.sent == 0) {
			t.Errorf("%s: dialled with %v", c.why, err)
		}
	}
}
