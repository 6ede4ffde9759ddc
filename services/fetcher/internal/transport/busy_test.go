package transport_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// What a server says of waiting, and until when it is left alone then.
func TestRetryAfter(t *testing.T) {
	for reason, c := range map[string]struct {
		status int
		after  string
		want   time.Duration
	}{
		"seconds":                     {http.StatusTooManyRequests, "120", 2 * time.Minute},
		"a date":                      {http.StatusServiceUnavailable, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), time.Hour},
		"more than an hour is one":    {http.StatusTooManyRequests, "2000000000", time.Hour},
		"a date far away is an hour":  {http.StatusTooManyRequests, "Fri, 31 Dec 9999 23:59:59 GMT", time.Hour},
		"a date that is over":         {http.StatusTooManyRequests, "Wed, 21 Oct 2015 07:28:00 GMT", 0},
		"nothing that can be read":    {http.StatusTooManyRequests, "soon", 0},
		"nothing":                     {http.StatusTooManyRequests, "", 0},
		"a status that means no wait": {http.StatusForbidden, "120", 0},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", c.after)
			w.WriteHeader(c.status)
		}))
		var log bytes.Buffer
		quiet := &transport.Quiet{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		before := time.Now()
		err := send(t, quiet.Over(transport.Road{}, http.DefaultTransport), server.URL)
		var busy *transport.BusyError
		switch {
		case !errors.As(err, &busy):
			if c.want != 0 || err != nil {
				t.Errorf("%s: got %v, want a wait of %s", reason, err, c.want)
			}
		case c.want == 0 || busy.Until.Sub(before) < c.want-2*time.Second || busy.Until.Sub(before) > c.want+10*time.Second:
			t.Errorf("%s: waits for %s, want %s", reason, busy.Until.Sub(before), c.want)
		case !strings.Contains(err.Error(), busy.Until.UTC().Format(time.RFC3339)) || !strings.Contains(log.String(), busy.Host):
			t.Errorf("%s: error %q and log %q do not tell all", reason, err, log.String())
		}
		server.Close()
	}
}

// send makes a request by a road.
func send(t *testing.T, via http.RoundTripper, location string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, location, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: via}).Do(req)
	if err == nil {
		_ = res.Body.Close()
	}
	return err
}

// Who asks by the same road leaves the server alone, and nobody else.
func TestQuietOfARoad(t *testing.T) {
	var asked int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer server.Close()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer other.Close()
	var quiet transport.Quiet
	for _, c := range []struct {
		reason string
		road   transport.Road
		at     string
		asked  int
		busy   bool
	}{
		{"the first is told", transport.Road{}, server.URL + "/a", 1, true},
		{"the next one does not ask, whatever it wants", transport.Road{}, server.URL + "/b", 1, true},
		{"who presents a password does", transport.Road{User: "u", Password: "p"}, server.URL, 2, true},
		{"and who goes by a proxy", transport.Road{Proxy: "http://proxy"}, server.URL, 3, true},
		{"another host is another matter", transport.Road{}, other.URL, 3, false},
	} {
		err := send(t, quiet.Over(c.road, http.DefaultTransport), c.at)
		var busy *transport.BusyError
		if errors.As(err, &busy) != c.busy || asked != c.asked {
			t.Errorf("%s: got %v after %d requests, want %d", c.reason, err, asked, c.asked)
		}
	}
}

// What a server said counts however its address is written.
func TestQuietOfAHost(t *testing.T) {
	var asked int
	via := roundTripper(func(r *http.Request) (*http.Response, error) {
		asked++
		return &http.Response{
			StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"60"}}, Body: http.NoBody, Request: r,
		}, nil
	})
	var quiet transport.Quiet
	for n, c := range []struct {
		at    string
		asked int
	}{
		{"https://git.example/a", 1},
		{"https://git.example:443/a", 1},
		{"https://GIT.example:443/a", 1},
		{"https://git.example:80/a", 2}, // the port of another scheme
		{"http://charts.example:80/a", 3},
		{"http://charts.example/a", 3},
	} {
		var busy *transport.BusyError
		if err := send(t, quiet.Over(transport.Road{}, via), c.at); !errors.As(err, &busy) || asked != c.asked {
			t.Errorf("%d, %s: got %v after %d requests, want %d", n, c.at, err, asked, c.asked)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What Secrets say makes a road: the certificate by either name, and the proxy.
func TestRoadOf(t *testing.T) {
	proxy := map[string][]byte{"address": []byte("http://proxy"), "username": []byte("u"), "password": []byte("p")}
	for why, c := range map[string]struct {
		tls, proxy map[string][]byte
		want       transport.Road
	}{
		"nothing":                     {nil, nil, transport.Road{}},
		"an authority is not shown":   {map[string][]byte{"ca.crt": []byte("ca")}, nil, transport.Road{}},
		"a certificate":               {map[string][]byte{"tls.crt": []byte("c"), "tls.key": []byte("k")}, nil, transport.Road{Certificate: "c"}},
		"by its legacy name":          {map[string][]byte{"certFile": []byte("c"), "keyFile": []byte("k")}, nil, transport.Road{Certificate: "c"}},
		"the one that is presented":   {map[string][]byte{"tls.crt": []byte("c"), "tls.key": []byte("k"), "certFile": []byte("d")}, nil, transport.Road{Certificate: "c"}},
		"a proxy with its login":      {nil, proxy, transport.Road{Proxy: "http://u:p@proxy"}},
		"a certificate and the proxy": {map[string][]byte{"tls.crt": []byte("c")}, proxy, transport.Road{Certificate: "c", Proxy: "http://u:p@proxy"}},
	} {
		if got, err := transport.RoadOf(c.tls, c.proxy); got != c.want || err != nil {
			t.Errorf("%s: got %+v, %v, want %+v", why, got, err, c.want)
		}
	}
	if _, err := transport.RoadOf(nil, map[string][]byte{"address": []byte("ftp://proxy")}); err == nil {
		t.Error("a proxy that is none makes a road")
	}
}
