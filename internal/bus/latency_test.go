package bus_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
)

// TestLatency bounds the time from a check or an event to the handler loosely, for
// busy machines, and logs what was measured.
func TestLatency(t *testing.T) {
	b := bustest.Run(t)
	key := events.NewKey("Kustomization", "apps", "podinfo")
	handled := make(chan time.Time, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		err := b.Work(ctx, bus.WorkConfig{Stage: events.StageBuild}, func(context.Context, bus.Check) (bus.Result, error) {
			handled <- time.Now()
			return bus.Result{}, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	var took []time.Duration
	for range 200 {
		sent := time.Now()
		if err := b.Check(t.Context(), bus.Target{Stage: events.StageBuild, Key: key}); err != nil {
			t.Fatal(err)
		}
		select {
		case at := <-handled:
			took = append(took, at.Sub(sent))
		case <-time.After(10 * time.Second):
			t.Fatal("check was not handled")
		}
	}
	slices.Sort(took)
	t.Logf("check to handler: median %s, p95 %s, worst %s", took[100], took[190], took[199])
	if took[100] > 100*time.Millisecond {
		t.Errorf("median %s, want a few milliseconds", took[100])
	}
}
