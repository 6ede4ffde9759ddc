package bus_test

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
)

// TestRestart stops NATS under a running worker, with and without its files, and
// expects checks to flow again.
func TestRestart(t *testing.T) {
	for _, keepFiles := range []bool{true, false} {
		t.Run("keep files "+strconv.FormatBool(keepFiles), func(t *testing.T) {
			dir := t.TempDir()
			server := bustest.ServerIn(t, dir, -1)
			b := bustest.Connect(t, server, bus.Config{URL: server.URL(), Timeout: time.Second})
			recovered := b.Recovered()
			handled := make(chan string, 100)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- b.Work(ctx, bus.WorkConfig{Stage: events.StageApply}, func(_ context.Context, c bus.Check) (bus.Result, error) {
					handled <- c.Note.Revision
					return bus.Result{}, nil
				})
			}()
			t.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
			arrive := func(revision string) {
				t.Helper()
				deadline := time.After(30 * time.Second)
				target := bus.Target{Stage: events.StageApply, Key: events.NewKey("Kustomization", "apps", "podinfo"), Note: bus.Note{Revision: revision}}
				for b.Check(t.Context(), target) != nil {
					if t.Context().Err() != nil {
						t.Fatal("the test ended")
					}
				}
				for {
					select {
					case got := <-handled:
						if got == revision {
							return
						}
					case <-deadline:
						t.Fatalf("%s was not handled", revision)
					}
				}
			}
			arrive("before")

			port := portOf(t, server.URL())
			server.Stop()
			if !keepFiles {
				dir = t.TempDir()
			}
			began := time.Now()
			bustest.ServerIn(t, dir, port)
			arrive("after")
			t.Logf("handled %s after the restart", time.Since(began))
			if keepFiles {
				return
			}
			select {
			case <-recovered:
			case <-time.After(30 * time.Second):
				t.Error("services were not told that the streams are new")
			}
		})
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
