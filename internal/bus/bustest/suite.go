package bustest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/natsserver"
)

// patience bounds every wait of the suite.
const patience = 30 * time.Second

// Dial sets how a bus reaches the server.
type Dial func(s *natsserver.Server, cfg *bus.Config)

// Suite runs the contract of package bus over connections made by dial.
func Suite(t *testing.T, dial Dial) {
	cases := []struct {
		name string
		run  func(*testing.T, *env)
	}{
		{"an event follows the last one, A→B→A too", testLog},
		{"the same decision made twice is one event", testDuplicate},
		{"of two writers one is told to decide again", testConflict},
		{"events keep their trace", testTrace},
		{"waiting checks of a key are one", testCoalesce},
		{"a check sent during work is handled after it, and only the newest", testNewestWins},
		{"a key is worked on once at a time over all replicas", testOneAtATime},
		{"a full namespace does not hold up one in another lane", func(t *testing.T, env *env) { testFairness(t, env, false) }},
		{"a full namespace does not hold up one in its own lane", func(t *testing.T, env *env) { testFairness(t, env, true) }},
		{"a namespace with endless checks leaves workers to one in another lane", func(t *testing.T, env *env) { testShare(t, env, false) }},
		{"a namespace with endless checks leaves workers to one in its own lane", func(t *testing.T, env *env) { testShare(t, env, true) }},
		{"a killed worker loses nothing", testKill},
		{"a lost lease ends the handler's context", testLeaseLost},
		{"a stopping worker returns what it cannot finish", testShutdown},
		{"a timer is replaced, stopped and forgotten", testTimers},
		{"a check that arrives while its key is forgotten is handled", testForget},
		{"a result sets the timer", testNext},
		{"a check that waits for its turn comes again as it is", testAgain},
		{"errors are retried, permanent ones recorded", testErrors},
		{"events become checks, a malformed one is passed over", testFanOut},
		{"a failing fan-out is tried again", testFanOutRetry},
		{"deleted streams come back", testDeletedStreams},
		{"emptied streams are noticed", testEmptiedStreams},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, &env{server: Server(t), dial: dial})
		})
	}
}

// env is one case's server and the way to it.
type env struct {
	server *natsserver.Server
	dial   Dial
}

// connect returns a bus that notices dead workers as fast as NATS allows.
func (e *env) connect(t *testing.T) *bus.Bus {
	t.Helper()
	cfg := bus.Config{LeaseTTL: time.Second, AckWait: time.Second, VerifyEvery: 200 * time.Millisecond}
	e.dial(e.server, &cfg)
	return Connect(t, e.server, cfg)
}

// jetstream returns a client beside the bus, to look at and break streams.
func (e *env) jetstream(t *testing.T) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(e.server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// count returns how many messages a stream holds on a subject.
func (e *env) count(t *testing.T, stream, subject string) int {
	t.Helper()
	s, err := e.jetstream(t).Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(subject))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range info.State.Subjects {
		n += int(c)
	}
	return n
}

// work runs Work until the test ends or stop is called, which waits for its return.
func work(t *testing.T, b *bus.Bus, cfg bus.WorkConfig, h bus.Handler) (stop func()) {
	t.Helper()
	cfg.Stage = events.StageBuild
	return background(t, func(ctx context.Context) error { return b.Work(ctx, cfg, h) })
}

// fanOut runs FanOut of the sources until the test ends.
func fanOut(t *testing.T, b *bus.Bus, h bus.FanOutHandler) {
	t.Helper()
	cfg := bus.FanOutConfig{Name: "builder", Subjects: []string{"sluice.source.>"}}
	background(t, func(ctx context.Context) error { return b.FanOut(ctx, cfg, h) })
}

func background(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return stop
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

// receive waits for a value.
func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("not within %s: %s", patience, what)
		panic("unreachable")
	}
}

// nothing fails when a value comes within d.
func nothing[T any](t *testing.T, what string, c <-chan T, d time.Duration) {
	t.Helper()
	select {
	case v := <-c:
		t.Fatalf("%s: got %v", what, v)
	case <-time.After(d):
	}
}

func app(name string) events.Key { return events.NewKey("Kustomization", "apps", name) }

func repo(name string) events.Key { return events.NewKey("GitRepository", "apps", name) }

func target(key events.Key, revision string) bus.Target {
	return bus.Target{Stage: events.StageBuild, Key: key, Note: bus.Note{Reason: "source", Revision: revision}}
}

func check(t *testing.T, b *bus.Bus, targets ...bus.Target) {
	t.Helper()
	if err := b.Check(t.Context(), targets...); err != nil {
		t.Fatal(err)
	}
}

// changed returns an event of a source's new revision.
func changed(t *testing.T, source events.Key, revision string) event.Event {
	t.Helper()
	e, err := events.New("fetch", source, events.SourceChanged{Source: source, Revision: revision}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func open(t *testing.T, b *bus.Bus, subject string) *bus.Log {
	t.Helper()
	l, err := b.Open(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// report publishes a revision as the newest of its source.
func report(t *testing.T, b *bus.Bus, source events.Key, revision string) {
	t.Helper()
	for {
		err := open(t, b, events.SourceSubject(source)).Append(t.Context(), changed(t, source, revision))
		if err == nil {
			return
		}
		if !errors.Is(err, bus.ErrConflict) {
			t.Fatal(err)
		}
	}
}
