package transport_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// Which answers are read to their end, of those that are longer than memory may hold.
func TestGuard(t *testing.T) {
	const length = 17 << 20
	for reason, c := range map[string]struct {
		status   int
		streamed bool
		whole    bool
	}{
		"what goes to memory is bounded":          {http.StatusOK, false, false},
		"what goes to disk is bounded by others":  {http.StatusOK, true, true},
		"so is a part of it":                      {http.StatusPartialContent, true, true},
		"a refusal of that is read by a library":  {http.StatusNotFound, true, false},
		"so is the fault of a server that had it": {http.StatusInternalServerError, true, false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, strings.Repeat("a", length)) // who reads may stop
		}))
		ctx := t.Context()
		if c.streamed {
			ctx = transport.Streamed(ctx)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Client{Transport: transport.Guard(http.DefaultTransport)}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if whole := err == nil && n == length; whole != c.whole {
			t.Errorf("%s: read %d bytes, %v", reason, n, err)
		}
		server.Close()
	}
}
