package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
)

// A worker that is alone does not wait for the leases of the process before it,
// which was killed: a lease of a minute would outlast the test.
func TestAloneNeedsNoLease(t *testing.T) {
	server := bustest.Server(t)
	key := events.NewKey("Kustomization", "apps", "held")
	killed := bustest.Connect(t, server, bus.Config{LeaseTTL: time.Minute})
	holding := make(chan struct{}, 1)
	work(t, killed, false, func(ctx context.Context) {
		holding <- struct{}{}
		<-ctx.Done()
	})
	check(t, killed, key)
	await(t, holding, "the first process takes the key")
	bustest.Kill(killed)

	next := bustest.Connect(t, server, bus.Config{LeaseTTL: time.Minute})
	taken := make(chan struct{}, 1)
	work(t, next, true, func(context.Context) { taken <- struct{}{} })
	check(t, next, key)
	await(t, taken, "the next process takes the key")
}

// work runs a worker until the test ends.
func work(t *testing.T, b *bus.Bus, alone bool, do func(context.Context)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- b.Work(ctx, bus.WorkConfig{Stage: events.StageApply, Grace: time.Second, Alone: alone}, func(ctx context.Context, _ bus.Check) (bus.Result, error) {
			do(ctx)
			return bus.Result{}, ctx.Err()
		})
	}()
	t.Cleanup(func() {
		stop()
		<-ended // a bus that was cut off ends with an error, which is what the test asks for
	})
}

func check(t *testing.T, b *bus.Bus, key events.Key) {
	t.Helper()
	if err := b.Check(t.Context(), bus.Target{Stage: events.StageApply, Key: key}); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	select {
	case <-c:
	case <-ctx.Done():
		t.Fatalf("timed out: %s", what)
	}
}
