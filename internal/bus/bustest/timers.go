package bustest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
)

func wake(t *testing.T, b *bus.Bus, key events.Key, in time.Duration, reason string) {
	t.Helper()
	if err := b.Wake(t.Context(), events.StageBuild, key, time.Now().Add(in), bus.Note{Reason: reason}); err != nil {
		t.Fatal(err)
	}
}

func testTimers(t *testing.T, env *env) {
	b := env.connect(t)
	seen := make(chan bus.Check, 10)
	work(t, b, bus.WorkConfig{}, func(_ context.Context, c bus.Check) (bus.Result, error) {
		seen <- c
		return bus.Result{}, nil
	})
	began := time.Now()
	wake(t, b, app("replaced"), 700*time.Millisecond, "soon")
	wake(t, b, app("replaced"), time.Hour, "late")
	wake(t, b, app("replaced"), 600*time.Millisecond, "newest")
	wake(t, b, app("stopped"), 600*time.Millisecond, "timer")
	wake(t, b, app("forgotten"), 600*time.Millisecond, "timer")
	if err := b.StopTimer(t.Context(), events.StageBuild, app("stopped")); err != nil {
		t.Fatal(err)
	}
	if err := b.Forget(t.Context(), events.StageBuild, app("forgotten")); err != nil {
		t.Fatal(err)
	}
	got := receive(t, "the timer fires", seen)
	if got.Key != app("replaced") || got.Note.Reason != "newest" {
		t.Errorf("got %+v, want the newest timer", got)
	}
	if took := time.Since(began); took < 600*time.Millisecond {
		t.Errorf("the timer fired after %s, before its time", took)
	}
	nothing(t, "a timer that was replaced, stopped or forgotten", seen, 800*time.Millisecond)
	if n := env.count(t, "BUILD", "sluice.timer.build.*.>"); n != 0 {
		t.Errorf("%d timers are left", n)
	}
	wake(t, b, app("past"), -time.Second, "past")
	if got := receive(t, "a timer of the past", seen); got.Key != app("past") {
		t.Errorf("got %v", got.Key)
	}
}

// testForget plays an object that is made anew while a worker settles that the one
// before is gone.
func testForget(t *testing.T, env *env) {
	b := env.connect(t)
	seen := make(chan bus.Check, 10)
	var calls atomic.Int32
	work(t, b, bus.WorkConfig{}, func(ctx context.Context, c bus.Check) (bus.Result, error) {
		seen <- c
		if calls.Add(1) > 1 {
			return bus.Result{}, nil
		}
		again := bus.Target{Stage: events.StageBuild, Key: c.Key, Note: bus.Note{Reason: "made anew"}}
		return bus.Result{Next: bus.Never}, errors.Join(b.Check(ctx, again), b.Forget(ctx, events.StageBuild, c.Key))
	})
	if err := b.Check(t.Context(), bus.Target{Stage: events.StageBuild, Key: app("anew"), Note: bus.Note{Reason: "gone"}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gone", "made anew"} {
		if got := receive(t, want, seen); got.Note.Reason != want {
			t.Errorf("got %q, want %q", got.Note.Reason, want)
		}
	}
}

func testNext(t *testing.T, env *env) {
	b := env.connect(t)
	var calls atomic.Int32
	at := make(chan time.Time, 10)
	next := []time.Duration{50 * time.Millisecond, 600 * time.Millisecond, time.Hour, bus.Never}
	work(t, b, bus.WorkConfig{}, func(_ context.Context, c bus.Check) (bus.Result, error) {
		at <- time.Now()
		return bus.Result{Next: next[calls.Add(1)-1]}, nil
	})
	check(t, b, target(app("podinfo"), "x"))
	first := receive(t, "the check", at)
	second := receive(t, "the short wait", at)
	if wait := second.Sub(first); wait < 45*time.Millisecond {
		t.Errorf("the short wait took %s, want 50ms", wait)
	}
	third := receive(t, "the timer", at)
	if wait := third.Sub(second); wait < 590*time.Millisecond {
		t.Errorf("the timer took %s, want 600ms", wait)
	}
	timers := func() int {
		return env.count(t, "BUILD", events.TimerSubject(events.StageBuild, app("podinfo")))
	}
	eventually(t, "the long timer is set", func() bool { return timers() == 1 })
	check(t, b, target(app("podinfo"), "x"))
	receive(t, "the last check", at)
	eventually(t, "the timer is removed", func() bool { return timers() == 0 })
}

func testAgain(t *testing.T, env *env) {
	b := env.connect(t)
	type call struct {
		reason string
		at     time.Time
	}
	seen := make(chan call, 10)
	results := make(chan func() (bus.Result, error), 10)
	again := func(wait time.Duration) func() (bus.Result, error) {
		return func() (bus.Result, error) { return bus.Result{Again: wait}, nil }
	}
	fail := func() (bus.Result, error) { return bus.Result{}, errors.New("no route to host") }
	work(t, b, bus.WorkConfig{}, func(_ context.Context, c bus.Check) (bus.Result, error) {
		seen <- call{c.Note.Reason, time.Now()}
		return (<-results)()
	})
	check(t, b, bus.Target{Stage: events.StageBuild, Key: app("podinfo"), Note: bus.Note{Reason: "hook"}})
	before := receive(t, "the check", seen)
	for _, step := range []struct {
		name    string
		result  func() (bus.Result, error)
		reason  string
		soonest time.Duration
		why     string
	}{
		{"a short wait", again(50 * time.Millisecond), "hook", 45 * time.Millisecond, "the same check is delivered again"},
		{"a long wait", again(600 * time.Millisecond), "hook", 590 * time.Millisecond, "a timer brings a check with its note"},
		{"a failure", fail, "retry", 740 * time.Millisecond, "the first retry"},
		{"a wait of a retry", again(600 * time.Millisecond), "retry", 590 * time.Millisecond, "it stays a retry"},
		{"the next failure", fail, "retry", 1490 * time.Millisecond, "the second retry is later, though the check waited between"},
	} {
		results <- step.result
		now := receive(t, step.name, seen)
		if now.reason != step.reason || now.at.Sub(before.at) < step.soonest {
			t.Errorf("%s: came as %q after %s, want %q after %s: %s", step.name, now.reason, now.at.Sub(before.at), step.reason, step.soonest, step.why)
		}
		before = now
	}
	results <- func() (bus.Result, error) { return bus.Result{}, nil }
}

func testErrors(t *testing.T, env *env) {
	b := env.connect(t)
	type call struct {
		bus.Check
		at time.Time
	}
	seen := make(chan call, 10)
	var panics, failures atomic.Int32
	work(t, b, bus.WorkConfig{}, func(_ context.Context, c bus.Check) (bus.Result, error) {
		switch c.Key.Name {
		case "permanent":
			seen <- call{c, time.Now()}
			return bus.Result{}, bus.Permanent(errors.New("spec is\nwrong"))
		case "panics":
			if panics.Add(1) == 1 {
				panic("on purpose")
			}
		case "fails":
			seen <- call{c, time.Now()}
			if failures.Add(1) < 3 {
				return bus.Result{}, errors.New("no route to host")
			}
			return bus.Result{}, nil
		}
		seen <- call{c, time.Now()}
		return bus.Result{}, nil
	})

	check(t, b, target(app("permanent"), "x"))
	receive(t, "the permanent failure", seen)
	dead := events.DeadSubject(events.StageBuild, app("permanent"))
	eventually(t, "the dead letter", func() bool { return env.count(t, events.StreamDead, dead) == 1 })
	msg := env.last(t, events.StreamDead, dead)
	if got := msg.Header.Get(bus.HeaderDeadError); got != "spec is wrong" {
		t.Errorf("the dead letter says %q", got)
	}
	eventually(t, "the check is acknowledged", func() bool { return env.count(t, "BUILD", "sluice.check.>") == 0 })

	check(t, b, target(app("panics"), "x"))
	if got := receive(t, "the retry after a panic", seen); got.Key != app("panics") || got.Note.Revision != "x" {
		t.Errorf("got %+v", got.Check)
	}

	wake(t, b, app("fails"), time.Hour, "timer")
	check(t, b, target(app("fails"), "x"))
	first := receive(t, "the first attempt", seen)
	second := receive(t, "the second attempt", seen)
	third := receive(t, "the third attempt", seen)
	if wait := second.at.Sub(first.at); wait < 700*time.Millisecond || wait > 5*time.Second {
		t.Errorf("first backoff is %s, want about 750ms", wait)
	}
	if wait := third.at.Sub(second.at); wait < 1400*time.Millisecond {
		t.Errorf("second backoff is %s, want about 1.5s", wait)
	}
	if n := env.count(t, "BUILD", events.TimerSubject(events.StageBuild, app("fails"))); n != 1 {
		t.Error("the retry took the place of the key's timer")
	}
}
