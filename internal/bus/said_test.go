package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
)

// lines keeps what is logged about one object.
type lines struct {
	slog.Handler
	mu   sync.Mutex
	seen []string
}

// Handle implements slog.Handler.
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	var name, text string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "name":
			name = a.Value.String()
		case "error":
			text = a.Value.String()
		}
		return true
	})
	if name == "failing" && r.Level >= slog.LevelInfo {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.seen = append(l.seen, r.Level.String()+" "+text)
	}
	return nil
}

// TestAFailureIsLoggedOnce: a failure that is tried again and again is one error in
// the log, until it is another one or comes back after a success.
func TestAFailureIsLoggedOnce(t *testing.T) {
	log := &lines{Handler: slog.Default().Handler()}
	b := bustest.Connect(t, bustest.Server(t), bus.Config{Logger: slog.New(log)})
	key := events.NewKey("Kustomization", "apps", "failing")
	outcomes := []error{errors.New("one"), errors.New("one"), errors.New("two"), nil, errors.New("two")}
	handled := make(chan struct{}, len(outcomes))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	calls := 0
	go func() {
		ended <- b.Work(ctx, bus.WorkConfig{Stage: events.StageApply, Workers: 1}, func(context.Context, bus.Check) (bus.Result, error) {
			err := outcomes[min(calls, len(outcomes)-1)]
			calls++
			handled <- struct{}{}
			return bus.Result{Next: bus.Never}, err
		})
	}()
	for range outcomes {
		if err := b.Check(t.Context(), bus.Target{Stage: events.StageApply, Key: key}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-handled:
		case <-time.After(20 * time.Second):
			t.Fatal("no worker took the check")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	want := []string{"ERROR one", "ERROR two", "ERROR two"}
	if diff := cmp.Diff(want, log.seen); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
