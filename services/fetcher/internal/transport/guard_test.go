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

// An answer of few bytes from which a library would make far more of memory: one for each object, element or name.
func TestGuardCountsValues(t *testing.T) {
	for reason, c := range map[string]struct {
		sent  string
		times int
		whole bool
	}{
		"a listing of a thousand objects, with all that is said of each": {`<Blob>` + strings.Repeat(`<Name>a</Name>`, 30) + `</Blob>`, 1000, true},
		"a list of as many tags as are looked at":                        {`"1.0",`, 1_000_000, true},
		"objects in JSON": {`{},`, 200_000, false},
		"elements in XML": {`<Contents/>`, 200_000, false},
		"names in JSON":   {`"a":"",`, 1_100_000, false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(c.sent, c.times)) // who reads may stop
		}))
		res, err := (&http.Client{Transport: transport.Guard(http.DefaultTransport)}).Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if whole := err == nil; whole != c.whole {
			t.Errorf("%s: read to the end %t, want %t: %v", reason, whole, c.whole, err)
		}
		server.Close()
	}
}
