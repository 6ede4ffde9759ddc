package fetcher_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// busyServer asks to wait for two seconds, which is longer than the first tries of a
// failed pass are apart.
func busyServer(t *testing.T, w *world) {
	const wait = 2 * time.Second
	sha := gittest.NewRepo(t, w.root, "busy").Commit("main", "first", map[string]string{"a.yaml": "a"})
	to, err := url.Parse(w.http.URL)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	var mu sync.Mutex
	var asked []time.Time
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, time.Now())
		first := len(asked) == 1
		mu.Unlock()
		if first {
			rw.Header().Set("Retry-After", "2")
			rw.WriteHeader(http.StatusTooManyRequests)
			return
		}
		forward.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	spec := sourcev1.GitRepositorySpec{URL: server.URL + "/busy", Reference: branch("main")}
	w.create("busy-one", spec)
	w.await("the wait", "busy-one", broken("FetchFailed", "GitOperationFailed", "the server asks to wait (HTTP 429)"))
	w.create("busy-two", spec) // waits too, without asking
	w.await("the wait", "busy-two", broken("FetchFailed", "GitOperationFailed", "the server asks to wait (HTTP 429)"))
	for _, name := range []string{"busy-one", "busy-two"} {
		w.await("the artifact", name, at("main@sha1:"+sha))
	}
	mu.Lock()
	defer mu.Unlock()
	if gap := asked[1].Sub(asked[0]); gap < wait {
		t.Errorf("asked again after %s", gap)
	}
}
