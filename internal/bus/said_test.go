package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
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
	var outcome atomic.Pointer[error]
	handled := make(chan *error, 100) // more than there are tries
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- b.Work(ctx, bus.WorkConfig{Stage: events.StageApply, Workers: 1}, func(context.Context, bus.Check) (bus.Result, error) {
			now := outcome.Load()
			handled <- now
			return bus.Result{Next: bus.Never}, *now
		})
	}()
	for step, err := range []error{errors.New("one"), errors.New("one"), errors.New("two"), nil, errors.New("two"), nil} {
		outcome.Store(&err)
		if err := b.Check(t.Context(), bus.Target{Stage: events.StageApply, Key: key}); err != nil {
			t.Fatal(err)
		}
		for now := (*error)(nil); now != &err; { // a try of the step before may still be under way
			select {
			case now = <-handled:
			case <-time.After(20 * time.Second):
				t.Fatalf("no worker took check %d", step)
			}
		}
	}
	cancel() // the last try said nothing, so all that is said is in the log
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	want := []string{"ERROR one", "ERROR two", "ERROR two"}
	if diff := cmp.Diff(want, log.seen); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
