package bus_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
)

// putBack says when it is logged that a check is put back because processes died at it.
type putBack struct {
	slog.Handler
	seen chan string
}

// Handle implements slog.Handler.
func (p putBack) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "check put back" || r.Level != slog.LevelWarn {
		return nil
	}
	var text strings.Builder
	r.Attrs(func(a slog.Attr) bool {
		text.WriteString(a.String() + " ")
		return true
	})
	p.seen <- text.String()
	return nil
}

// TestLostCheck lets three processes die at a check. The fourth does others first and says why; then it does that check.
func TestLostCheck(t *testing.T) {
	server := bustest.Server(t)
	key, other := events.NewKey("HelmRelease", "apps", "deadly"), events.NewKey("HelmRelease", "apps", "harmless")
	for death := range 3 {
		mortal := bustest.Connect(t, server, bus.Config{AckWait: 300 * time.Millisecond})
		holding := make(chan struct{}, 1)
		work(t, mortal, true, func(ctx context.Context) {
			holding <- struct{}{}
			<-ctx.Done()
		})
		if death == 0 {
			check(t, mortal, key)
		}
		await(t, holding, "a process takes the check that it dies at")
		bustest.Kill(mortal)
	}

	died := time.Now()
	said := putBack{slog.Default().Handler(), make(chan string, 100)} // more than are logged
	last := bustest.Connect(t, server, bus.Config{AckWait: 300 * time.Millisecond, Logger: slog.New(said)})
	taken := make(chan string, 2)
	ctx, stop := context.WithTimeout(t.Context(), 40*time.Second)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- last.Work(ctx, bus.WorkConfig{Stage: events.StageApply, Alone: true}, func(_ context.Context, c bus.Check) (bus.Result, error) {
			taken <- c.Key.Name
			return bus.Result{}, nil
		})
	}()
	select {
	case line := <-said.seen:
		if !strings.Contains(line, "name=deadly") || !strings.Contains(line, "3 times") {
			t.Errorf("it says %q", line)
		}
	case name := <-taken:
		t.Fatalf("%s was handled at once", name)
	case <-ctx.Done():
		t.Fatal("nothing comes")
	}
	check(t, last, other)
	for _, want := range []string{"harmless", "deadly"} {
		select {
		case name := <-taken:
			if name != want {
				t.Fatalf("%s was handled before %s", name, want)
			}
		case <-ctx.Done():
			t.Fatalf("%s is not handled", want)
		}
	}
	if waited := time.Since(died); waited < bus.FirstLost {
		t.Errorf("it was handled %s after the last death, want %s at least", waited, bus.FirstLost)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
