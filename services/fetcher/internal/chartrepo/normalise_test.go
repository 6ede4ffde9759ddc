package chartrepo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartindex"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// An index that takes long holds up no small one, no other namespace for longer than its turn,
// and nobody past the time there is.
func TestLargeIndexesTakeTurns(t *testing.T) {
	c := New(Config{
		Scratch: t.TempDir(), MaxIndex: 8 << 20, MaxChart: 1 << 20, Tables: chartindex.NewTables(1 << 20), Quiet: &transport.Quiet{},
	})
	serve := func(size int) string {
		text := "apiVersion: v1\nentries:\n  app:\n  - {name: app, version: 1.0.0, urls: [a.tgz]}\n#" + strings.Repeat("x", size)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }))
		t.Cleanup(server.Close)
		return server.URL
	}
	small, large := serve(0), serve(smallIndex)
	ask := func(ctx context.Context, url, namespace string, n int) error {
		index, err := c.Index(ctx, Repository{URL: url, Username: fmt.Sprint(n), Namespace: namespace}, "")
		if err != nil {
			return err
		}
		return index.Close()
	}
	if err := c.normalising.Enter(t.Context(), "a"); err != nil { // as an index of a's does
		t.Fatal(err)
	}
	if err := ask(t.Context(), small, "b", 0); err != nil {
		t.Errorf("a small index: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan string, 3)
	begin := func(ctx context.Context, namespace string, n int, waits func() bool) {
		t.Helper()
		go func() {
			if err := ask(ctx, large, namespace, n); err != nil {
				got <- fmt.Sprintf("%s fails: %t", namespace, errors.Is(err, context.Canceled))
				return
			}
			got <- namespace
		}()
		until(t, "an index of "+namespace+" waits", waits)
	}
	begin(t.Context(), "a", 1, func() bool { return c.normalising.Waiting() == 1 })
	begin(ctx, "c", 2, func() bool { return c.normalising.Waiting() == 2 })
	cancel()
	if first := <-got; first != "c fails: true" {
		t.Errorf("whose time has ended: %s", first)
	}
	begin(t.Context(), "b", 3, func() bool { return c.normalising.Waiting() == 2 })
	c.normalising.Leave("a") // whose next index comes after b's
	if second, third := <-got, <-got; second != "b" || third != "a" {
		t.Errorf("then came %s, %s, want b and a", second, third)
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(limit) {
			t.Fatalf("in vain: %s", what)
		}
	}
}
