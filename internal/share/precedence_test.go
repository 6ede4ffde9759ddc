package share_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gitops/sluice/internal/share"
)

// busy makes a tenant known for doing much.
func busy(t *testing.T, p *share.Precedence, tenant string) context.Context {
	t.Helper()
	ctx, end := p.Begin(t.Context(), tenant)
	end()
	for range 100 {
		share.Step(ctx)()
	}
	return ctx
}

// waited is how long a step had to wait to begin; it ends at once.
func waited(ctx context.Context) time.Duration {
	asked := time.Now()
	share.Step(ctx)()
	return time.Since(asked)
}

func TestPrecedence(t *testing.T) {
	for _, c := range []struct {
		why string
		// play ends with how long a step of the busy tenant waited.
		play func(t *testing.T, p *share.Precedence) time.Duration
		want time.Duration
	}{
		{"alone a tenant waits for nobody", func(t *testing.T, p *share.Precedence) time.Duration {
			return waited(busy(t, p, "a"))
		}, 0},
		{"a few steps go on beside a quiet tenant's check", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			_, end := p.Begin(t.Context(), "b")
			defer end()
			return waited(ctx)
		}, 0},
		{"further ones pause", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			_, end := p.Begin(t.Context(), "b")
			defer end()
			defer share.Step(ctx)()
			return waited(ctx)
		}, 250 * time.Millisecond},
		{"until the check and the way to the next stage are over", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			_, end := p.Begin(t.Context(), "b")
			time.AfterFunc(10*time.Millisecond, end)
			defer share.Step(ctx)()
			return waited(ctx)
		}, 60 * time.Millisecond},
		{"or until one that is under way ends", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			_, end := p.Begin(t.Context(), "b")
			defer end()
			time.AfterFunc(20*time.Millisecond, share.Step(ctx))
			return waited(ctx)
		}, 20 * time.Millisecond},
		{"a check begins when a step may", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			_, end := p.Begin(t.Context(), "b")
			time.AfterFunc(10*time.Millisecond, end)
			defer share.Step(ctx)()
			asked := time.Now()
			_, end = p.Begin(t.Context(), "a")
			defer end()
			return time.Since(asked)
		}, 60 * time.Millisecond},
		{"from when one is expected", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			p.Expect("b")
			defer share.Step(ctx)()
			return waited(ctx)
		}, 50 * time.Millisecond},
		{"a check that waits for something else holds up nobody", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			_, end := p.Begin(t.Context(), "b")
			defer end()
			<-time.After(250 * time.Millisecond)
			defer share.Step(ctx)()
			return waited(ctx)
		}, 0},
		{"until it goes on", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			quiet, end := p.Begin(t.Context(), "b")
			defer end()
			<-time.After(300 * time.Millisecond)
			share.Step(quiet)()
			time.AfterFunc(10*time.Millisecond, end)
			defer share.Step(ctx)()
			return waited(ctx)
		}, 60 * time.Millisecond},
		{"a push or two is not busy", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx, end := p.Begin(t.Context(), "a")
			defer end()
			for range 20 {
				share.Step(ctx)()
			}
			_, end = p.Begin(t.Context(), "b")
			defer end()
			defer share.Step(ctx)()
			return waited(ctx)
		}, 0},
		{"but not for a busy one's", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			p.Expect("a")
			defer share.Step(ctx)()
			return waited(ctx)
		}, 0},
		{"the second but one is busy, too", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			busy(t, p, "b")
			busy(t, p, "b")
			<-time.After(100 * time.Millisecond)
			_, end := p.Begin(t.Context(), "c")
			defer end()
			defer share.Step(ctx)()
			return waited(ctx)
		}, 250 * time.Millisecond},
		{"nobody who does as much goes before", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			busy(t, p, "b")
			<-time.After(300 * time.Millisecond) // b's first check was a quiet one
			_, end := p.Begin(t.Context(), "b")
			defer end()
			defer share.Step(ctx)()
			return waited(ctx)
		}, 0},
		{"what was done long ago does not count", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			<-time.After(10 * time.Second)
			_, end := p.Begin(t.Context(), "b")
			defer end()
			defer share.Step(ctx)()
			return waited(ctx)
		}, 0},
		{"a busy tenant is not held up for longer than the credit", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			quiet, end := p.Begin(t.Context(), "b")
			defer end()
			asked := time.Now()
			for range 100 {
				share.Step(quiet)()
				done := share.Step(ctx)
				waited(ctx)
				done()
			}
			return time.Since(asked)
		}, time.Second},
		{"a pass that is stopped waits no longer", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx, cancel := context.WithTimeout(busy(t, p, "a"), 5*time.Millisecond)
			defer cancel()
			_, end := p.Begin(t.Context(), "b")
			defer end()
			defer share.Step(ctx)()
			return waited(ctx)
		}, 5 * time.Millisecond},
		{"what belongs to no check waits for nobody", func(t *testing.T, p *share.Precedence) time.Duration {
			ctx := busy(t, p, "a")
			_, end := p.Begin(t.Context(), "b")
			defer end()
			defer share.Step(ctx)()
			return waited(t.Context())
		}, 0},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := c.play(t, share.NewPrecedence(4, 1)); got != c.want {
					t.Errorf("waited %s, want %s", got, c.want)
				}
			})
		})
	}
}

// With no step beside, all pause.
func TestPrecedenceBesideNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := share.NewPrecedence(4, 0)
		ctx := busy(t, p, "a")
		_, end := p.Begin(t.Context(), "b")
		time.AfterFunc(100*time.Millisecond, end)
		if got := waited(ctx); got != 150*time.Millisecond {
			t.Errorf("waited %s", got)
		}
	})
}

// Many quiet tenants one after the other leave the busy one half of the time.
func TestPrecedenceLeavesHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := share.NewPrecedence(4, 1)
		ctx := busy(t, p, "a")
		over, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var quiet sync.WaitGroup
		quiet.Go(func() {
			for i := 0; over.Err() == nil; i++ {
				_, end := p.Begin(t.Context(), string(rune('b'+i%20)))
				<-time.After(100 * time.Millisecond)
				end()
			}
		})
		defer quiet.Wait()
		steps := 0
		for ; over.Err() == nil; steps++ {
			done := share.Step(ctx)
			share.Step(ctx)()
			<-time.After(time.Millisecond)
			done()
		}
		if steps < 9_000 || steps > 11_000 {
			t.Errorf("%d steps of a millisecond in 20 s", steps)
		}
	})
}

// However many steps a busy tenant could have under way, it has a few, unless it is alone.
func TestStepsUnderWay(t *testing.T) {
	const wanted, places, took = 12, 4, 20 * time.Millisecond
	for _, c := range []struct {
		why string
		// before is what happened before the steps of a busy tenant.
		before func(t *testing.T, p *share.Precedence)
		// took is how long each step of a busy tenant takes.
		took time.Duration
		want time.Duration
	}{
		{"alone a tenant has all at once", func(*testing.T, *share.Precedence) {}, took, took},
		{"beside others it has a few at a time", push, took, wanted / places * took},
		{"until nobody else was there for long", func(t *testing.T, p *share.Precedence) {
			push(t, p)
			busy(t, p, "a")
			<-time.After(15 * time.Minute)
		}, took, took},
		{"nobody waits for long for what waits for something else than processors", push, time.Minute, time.Minute + 250*time.Millisecond},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := share.NewPrecedence(places, 1)
				c.before(t, p)
				<-time.After(time.Second) // precedence is over
				ctx := busy(t, p, "a")
				began := time.Now()
				var all sync.WaitGroup
				for range wanted {
					all.Go(func() {
						done := share.Step(ctx)
						<-time.After(c.took)
						done()
					})
				}
				all.Wait()
				if got := time.Since(began); got != c.want {
					t.Errorf("took %s, want %s", got, c.want)
				}
			})
		})
	}
}

// push is a single check of a quiet tenant after one of a busy one.
func push(t *testing.T, p *share.Precedence) {
	busy(t, p, "a")
	_, end := p.Begin(t.Context(), "b")
	end()
}

// A quiet tenant's step waits for none of those under way.
func TestQuietStepNeedsNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := share.NewPrecedence(1, 1)
		push(t, p)
		<-time.After(time.Second)
		ctx := busy(t, p, "a")
		defer share.Step(ctx)()
		quiet, end := p.Begin(t.Context(), "b")
		defer end()
		if got := waited(quiet); got != 0 {
			t.Errorf("waited %s", got)
		}
	})
}
