package cosign

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

// While Sigstore's server hangs, those who give up leave nothing behind, and who comes later is told what came of it.
func TestAPublicRootThatHangs(t *testing.T) {
	hangs, released := make(chan struct{}, 100), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hangs <- struct{}{}
		<-released
		w.WriteHeader(http.StatusTeapot)
	}))
	defer server.Close()
	roots := &Roots{Cache: t.TempDir(), mirror: server.URL}
	gone, leave := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := roots.Get(gone, nil)
		first <- err
	}()
	<-hangs
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	before := runtime.NumGoroutine()
	for range 50 {
		if _, err := roots.Get(gone, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	if left := runtime.NumGoroutine() - before; left > 10 {
		t.Errorf("%d goroutines are left behind", left)
	}
	close(released)
	if _, err := roots.Get(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "--sigstore-trusted-root") {
		t.Errorf("got %v", err)
	}
}
