package bustest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
)

func testCoalesce(t *testing.T, env *env) {
	b := env.connect(t)
	for i := range 100 {
		check(t, b, target(app("podinfo"), fmt.Sprint(i)))
	}
	seen := make(chan bus.Check, 100)
	work(t, b, bus.WorkConfig{}, func(_ context.Context, c bus.Check) (bus.Result, error) {
		seen <- c
		return bus.Result{}, nil
	})
	got := receive(t, "the check", seen)
	if got.Key != app("podinfo") || got.Note.Revision != "99" {
		t.Errorf("got %+v, want the newest check", got)
	}
	nothing(t, "an older check", seen, 200*time.Millisecond)
}

func testNewestWins(t *testing.T, env *env) {
	b := env.connect(t)
	seen, proceed := make(chan bus.Check, 100), make(chan struct{})
	work(t, b, bus.WorkConfig{Workers: 4}, func(ctx context.Context, c bus.Check) (bus.Result, error) {
		seen <- c
		select {
		case <-proceed:
			return bus.Result{}, nil
		case <-ctx.Done():
			return bus.Result{}, ctx.Err()
		}
	})
	check(t, b, target(app("podinfo"), "old"))
	receive(t, "the first check", seen)
	for i := range 10 {
		check(t, b, target(app("podinfo"), fmt.Sprint(i)))
	}
	nothing(t, "a second check of a key in work", seen, 1500*time.Millisecond) // longer than the ack wait
	proceed <- struct{}{}
	if got := receive(t, "the newest check", seen); got.Note.Revision != "9" {
		t.Errorf("got revision %s, want 9", got.Note.Revision)
	}
	proceed <- struct{}{}
	nothing(t, "a check after the newest", seen, 1500*time.Millisecond)
	eventually(t, "no check is left", func() bool { return env.count(t, "BUILD", "sluice.check.>") == 0 })
}

func testOneAtATime(t *testing.T, env *env) {
	var inside, handled atomic.Int32
	var newest atomic.Value
	for range 2 {
		work(t, env.connect(t), bus.WorkConfig{Workers: 2}, func(_ context.Context, c bus.Check) (bus.Result, error) {
			if n := inside.Add(1); n != 1 {
				t.Errorf("%d workers at once", n)
			}
			defer inside.Add(-1)
			<-time.After(2 * time.Millisecond) // the work
			newest.Store(c.Note.Revision)
			handled.Add(1)
			return bus.Result{}, nil
		})
	}
	sender := env.connect(t)
	for i := range 200 {
		check(t, sender, target(app("podinfo"), fmt.Sprint(i)))
	}
	eventually(t, "the newest check is handled", func() bool { return newest.Load() == "199" && inside.Load() == 0 })
	eventually(t, "the queue is empty", func() bool { return env.count(t, "BUILD", "sluice.check.>") == 0 })
	t.Logf("200 checks of one key, %d handled", handled.Load())
}

func testKill(t *testing.T, env *env) {
	const keys = 50
	sender := env.connect(t)
	var targets []bus.Target
	for i := range keys {
		targets = append(targets, target(app(fmt.Sprintf("app-%d", i)), "x"))
	}
	check(t, sender, targets...)

	killed := env.connect(t)
	started, release := make(chan struct{}, keys), make(chan struct{})
	stop := work(t, killed, bus.WorkConfig{Workers: 4, Grace: time.Millisecond}, func(context.Context, bus.Check) (bus.Result, error) {
		started <- struct{}{}
		<-release
		return bus.Result{}, errors.New("killed")
	})
	for range 4 {
		receive(t, "the worker is in the middle of it", started)
	}
	Kill(killed)

	var mu sync.Mutex
	seen := map[string]bool{}
	work(t, sender, bus.WorkConfig{}, func(_ context.Context, c bus.Check) (bus.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		seen[c.Key.Name] = true
		return bus.Result{}, nil
	})
	began := time.Now()
	eventually(t, "every key is handled", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) == keys
	})
	t.Logf("all keys handled %s after the kill", time.Since(began))
	close(release)
	stop()
}

func testLeaseLost(t *testing.T, env *env) {
	b := env.connect(t)
	js := env.jetstream(t)
	causes, again := make(chan error, 1), make(chan struct{}, 1)
	var calls atomic.Int32
	work(t, b, bus.WorkConfig{}, func(ctx context.Context, c bus.Check) (bus.Result, error) {
		if calls.Add(1) > 1 {
			again <- struct{}{}
			return bus.Result{}, nil
		}
		// Somebody else takes the lease, as after a long pause of this process.
		if _, err := js.Publish(ctx, events.LeaseSubject(events.StageBuild, c.Key), []byte("other")); err != nil {
			return bus.Result{}, err
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return bus.Result{}, ctx.Err()
	})
	check(t, b, target(app("podinfo"), "x"))
	if err := receive(t, "the handler's context ends", causes); !errors.Is(err, bus.ErrLeaseLost) {
		t.Errorf("cause is %v, want a lost lease", err)
	}
	nothing(t, "the check is handled under another's lease", again, 300*time.Millisecond)
	s, err := js.Stream(t.Context(), events.StreamLeases)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	receive(t, "the check is handled again", again)
}

func testShutdown(t *testing.T, env *env) {
	b := env.connect(t)
	started := make(chan struct{}, 1)
	finish := make(chan struct{})
	stop := work(t, b, bus.WorkConfig{Grace: 200 * time.Millisecond}, func(ctx context.Context, c bus.Check) (bus.Result, error) {
		started <- struct{}{}
		select {
		case <-ctx.Done():
			return bus.Result{}, ctx.Err()
		case <-finish:
			return bus.Result{}, nil
		}
	})
	check(t, b, target(app("podinfo"), "x"))
	receive(t, "the first worker has the check", started)
	stop()

	seen := make(chan bus.Check, 10)
	began := time.Now()
	stop = work(t, b, bus.WorkConfig{Grace: 10 * time.Second}, func(_ context.Context, c bus.Check) (bus.Result, error) {
		seen <- c
		<-finish
		return bus.Result{}, nil
	})
	receive(t, "the second worker has the check", seen)
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("the check came back after %s, so it was not returned but timed out", took)
	}
	time.AfterFunc(100*time.Millisecond, func() { close(finish) })
	stop()
	eventually(t, "the check is done, for the handler finished in its grace", func() bool {
		return env.count(t, "BUILD", "sluice.check.>") == 0
	})
}
