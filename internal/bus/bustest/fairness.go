package bustest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
)

// The tests of fairness count and measure no time.

// queueMany queues checks of one namespace.
func queueMany(t *testing.T, b *bus.Bus, many int) {
	t.Helper()
	var targets []bus.Target
	for i := range many {
		targets = append(targets, target(app(fmt.Sprintf("app-%d", i)), "x"))
	}
	check(t, b, targets...)
}

// queueQuiet queues one check of a namespace, and returns when NATS has told of it.
func queueQuiet(t *testing.T, env *env, b *bus.Bus, namespace string) {
	t.Helper()
	copies := make(chan *nats.Msg, 1)
	nc := env.jetstream(t).Conn()
	sub, err := nc.ChanSubscribe(events.WaitingFilter(events.StageBuild), copies)
	if err := errors.Join(err, nc.Flush()); err != nil {
		t.Fatal(err)
	}
	check(t, b, target(events.NewKey("Kustomization", namespace, "podinfo"), "x"))
	receive(t, "the worker hears of the check", copies)
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
}

// workOpenly works with one worker for each namespace. A check in work ends when its
// namespace is received.
func workOpenly(t *testing.T, b *bus.Bus) <-chan string {
	t.Helper()
	seen, proceed := make(chan string), make(chan struct{})
	work(t, b, bus.WorkConfig{Workers: 1}, func(ctx context.Context, c bus.Check) (bus.Result, error) {
		select {
		case seen <- c.Key.Namespace:
			return bus.Result{}, nil
		case <-proceed:
			return bus.Result{}, ctx.Err()
		}
	})
	t.Cleanup(func() { close(proceed) }) // before the worker is stopped
	return seen
}

// soon expects a check of the quiet namespace among the next few.
func soon(t *testing.T, seen <-chan string, quiet string) {
	t.Helper()
	const few = 2 * events.Lanes
	for n := 0; receive(t, "a check", seen) != quiet; n++ {
		if n > few {
			t.Fatalf("the quiet namespace still waits after %d checks of the full one", n)
		}
	}
}

// testFairness: while a namespace has thousands of checks, the one check of another is
// among the next few.
func testFairness(t *testing.T, env *env, sameLane bool) {
	b := env.connect(t)
	quiet := neighbour("apps", sameLane)
	queueMany(t, b, 5_000)
	seen := workOpenly(t, b)
	for range 100 {
		receive(t, "the full namespace is worked on", seen)
	}
	queueQuiet(t, env, b, quiet)
	soon(t, seen, quiet)
	left := fmt.Sprintf("sluice.check.build.*.*.%s.>", quiet)
	eventually(t, "the quiet check is done", func() bool {
		select {
		case namespace := <-seen:
			if namespace == quiet {
				t.Error("the quiet check was handled twice")
			}
		default:
		}
		return env.count(t, "BUILD", left) == 0
	})
}

// testShare: a namespace whose checks take for ever has the workers of its share and
// no more, and a check of another is handled all the same.
func testShare(t *testing.T, env *env, sameLane bool) {
	const workers = 4
	b := env.connect(t)
	quiet := neighbour("apps", sameLane)
	queueMany(t, b, workers+2) // which leaves the lane short
	began, forever, handled := make(chan string), make(chan struct{}), make(chan string)
	work(t, b, bus.WorkConfig{Workers: workers}, func(ctx context.Context, c bus.Check) (bus.Result, error) {
		stage := began
		if c.Key.Namespace == quiet {
			stage = handled
		}
		select {
		case stage <- c.Key.Name:
		case <-forever:
			return bus.Result{}, ctx.Err()
		}
		if stage == began {
			<-forever
		}
		return bus.Result{}, nil
	})
	t.Cleanup(func() { close(forever) }) // before the worker is stopped
	for range workers {
		receive(t, "the full namespace has its share", began)
	}
	queueQuiet(t, env, b, quiet)
	receive(t, "the quiet namespace has a worker", handled)
	select {
	case name := <-began:
		t.Errorf("%s has a worker beyond the share of its namespace", name)
	default:
	}
}

// neighbour returns another namespace whose checks are in the same lane, or are not.
func neighbour(namespace string, sameLane bool) string {
	lane := events.NewKey("Kustomization", namespace, "x").Lane()
	for i := 0; ; i++ {
		other := fmt.Sprintf("tenant-%d", i)
		if same := events.NewKey("Kustomization", other, "x").Lane() == lane; same == sameLane {
			return other
		}
	}
}
