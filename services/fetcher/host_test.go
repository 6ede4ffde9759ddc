package fetcher_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// stalledHost has more sources on a host that answers nothing than there are workers, and
// then a source on another host.
func stalledHost(t *testing.T, w *world) {
	release := make(chan struct{})
	var open, most atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		now := open.Add(1)
		defer open.Add(-1)
		for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	const workers = 8 // of one namespace
	for n := range 2 * workers {
		w.create(fmt.Sprintf("stalled-%02d", n), sourcev1.GitRepositorySpec{
			URL: server.URL + fmt.Sprintf("/%d", n), Reference: branch("main"), Timeout: &metav1.Duration{Duration: time.Minute},
		})
	}
	w.eventually("the stall", func() bool { return open.Load() == workers/2 }, func() any { return open.Load() })
	sha := gittest.NewRepo(t, w.root, "other-host").Commit("main", "first", map[string]string{"a.yaml": "a"})
	began := time.Now()
	w.create("other-host", sourcev1.GitRepositorySpec{URL: w.http.URL + "/other-host", Reference: branch("main")})
	w.await("the artifact", "other-host", at("main@sha1:"+sha))
	t.Logf("live after %s beside a host that stalls", time.Since(began).Round(time.Millisecond))
	if got := most.Load(); got != workers/2 {
		t.Errorf("%d requests at once went to the host that stalls, want %d", got, workers/2)
	}
	for n := range 2 * workers {
		obj := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("stalled-%02d", n)}}
		if err := w.client.Delete(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
}
