package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/gateway"
)

// kept is storage that has what is named, each with its name as content.
type kept []string

func (k kept) Stat(_ context.Context, name string) (blob.Object, error) {
	for _, have := range k {
		if have == name {
			return blob.Object{Size: int64(len(name))}, nil
		}
	}
	return blob.Object{}, blob.ErrNotFound
}

func (k kept) Reader(_ context.Context, name, _ string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(name)), nil
}

// What the cache names may be gone when the status names another artifact of the same path.
func TestCacheThatLags(t *testing.T) {
	for reason, c := range map[string]struct {
		cached, live string
		stored       kept
		status       int
		asked        int
	}{
		"the cache is right":          {"a", "b", kept{"a", "b"}, http.StatusOK, 1},
		"the API server knows better": {"a", "b", kept{"b"}, http.StatusOK, 2},
		"it does not know better":     {"a", "a", kept{"b"}, http.StatusNotFound, 2},
		"it has another that is gone": {"a", "b", kept{"c"}, http.StatusNotFound, 2},
	} {
		asked := 0
		handler := gateway.New(func(_ context.Context, _ string, live bool) (gateway.Artifact, error) {
			asked++
			if live {
				return gateway.Artifact{Blob: c.live}, nil
			}
			return gateway.Artifact{Blob: c.cached}, nil
		}, c.stored)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/gitrepository/apps/one/abc.tar.gz", nil))
		if answer.Code != c.status || asked != c.asked {
			t.Errorf("%s: status %d after %d questions, want %d after %d", reason, answer.Code, asked, c.status, c.asked)
		}
		if answer.Code == http.StatusOK && answer.Body.String() != c.stored[0] {
			t.Errorf("%s: got %q", reason, answer.Body)
		}
	}
}

// A request that would have storage read once for each of its ranges is refused.
func TestRangesAreFew(t *testing.T) {
	handler := gateway.New(func(context.Context, string, bool) (gateway.Artifact, error) {
		return gateway.Artifact{Blob: "0123456789"}, nil
	}, kept{"0123456789"})
	for ranges, status := range map[string]int{
		"bytes=5-6":                 http.StatusPartialContent,
		"bytes=8-8,6-6,4-4,2-2":     http.StatusPartialContent,
		"bytes=8-8,6-6,4-4,2-2,0-0": http.StatusRequestedRangeNotSatisfiable,
	} {
		request, answer := httptest.NewRequest(http.MethodGet, "/bucket/apps/one/abc.tar.gz", nil), httptest.NewRecorder()
		request.Header.Set("Range", ranges)
		handler.ServeHTTP(answer, request)
		if answer.Code != status {
			t.Errorf("%s: status %d, want %d", ranges, answer.Code, status)
		}
	}
}

// slow is storage whose objects are read to the end only once who reads is let go.
type slow struct {
	kept

	opened chan struct{}
	gone   chan struct{}
}

func (s slow) Reader(context.Context, string, string) (io.ReadCloser, error) {
	s.opened <- struct{}{}
	<-s.gone
	return io.NopCloser(strings.NewReader("slow")), nil
}

// Who downloads slowly, and many artifacts at once, keeps nobody else from storage.
func TestDownloadsAreShared(t *testing.T) {
	storage := slow{kept{"slow"}, make(chan struct{}), make(chan struct{})}
	handler := gateway.New(func(context.Context, string, bool) (gateway.Artifact, error) {
		return gateway.Artifact{Blob: "slow"}, nil
	}, storage)
	ask := func(ctx context.Context, method, from string) *httptest.ResponseRecorder {
		request, answer := httptest.NewRequestWithContext(ctx, method, "/gitrepository/apps/one/abc.tar.gz", nil), httptest.NewRecorder()
		request.RemoteAddr = from
		handler.ServeHTTP(answer, request)
		return answer
	}
	var all sync.WaitGroup
	for n := range gateway.MaxDownloads / 2 {
		all.Go(func() { ask(t.Context(), http.MethodGet, fmt.Sprint("10.0.0.1:", 1000+n)) })
		<-storage.opened
	}
	hurry, end := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer end()
	refused := make(chan *httptest.ResponseRecorder, 1)
	all.Go(func() { refused <- ask(hurry, http.MethodGet, "10.0.0.1:9") })
	select {
	case got := <-refused:
		if got.Code != http.StatusServiceUnavailable || got.Header().Get("Retry-After") == "" {
			t.Errorf("one more: status %d", got.Code)
		}
	case <-storage.opened:
		t.Error("one more is read from storage")
	}
	if got := ask(t.Context(), http.MethodHead, "10.0.0.1:9"); got.Code != http.StatusOK {
		t.Errorf("what reads nothing: status %d", got.Code)
	}
	all.Go(func() {
		if got := ask(t.Context(), http.MethodGet, "10.0.0.2:9"); got.Code != http.StatusOK {
			t.Errorf("somebody else: status %d", got.Code)
		}
	})
	<-storage.opened
	close(storage.gone)
	all.Wait()
}
