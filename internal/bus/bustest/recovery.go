package bustest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
)

// last returns the last message of a subject.
func (e *env) last(t *testing.T, stream, subject string) *jetstream.RawStreamMsg {
	t.Helper()
	s, err := e.jetstream(t).Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := s.GetLastMsgForSubject(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// dependent fans a source out to the app of its name.
func dependent(_ context.Context, e event.Event, subject string) ([]bus.Target, error) {
	key, err := events.ParseSubject(subject)
	if err != nil {
		return nil, err
	}
	data, err := events.Decode[events.SourceChanged](e)
	if err != nil {
		return nil, bus.Permanent(err)
	}
	return []bus.Target{target(app(key.Name), data.Revision)}, nil
}

// pipeline runs a fan-out and a worker and returns the revisions that arrive.
func pipeline(t *testing.T, b *bus.Bus) <-chan string {
	t.Helper()
	seen := make(chan string, 1000)
	fanOut(t, b, dependent)
	work(t, b, bus.WorkConfig{}, func(_ context.Context, c bus.Check) (bus.Result, error) {
		seen <- c.Note.Revision
		return bus.Result{Next: time.Hour}, nil
	})
	return seen
}

// arrive reports a revision until it comes out of the pipeline, as a service does
// that is told to check every key.
func arrive(t *testing.T, b *bus.Bus, seen <-chan string, revision string) {
	t.Helper()
	report(t, b, repo("pod.info"), revision)
	for receive(t, "revision "+revision, seen) != revision {
	}
}

func testFanOut(t *testing.T, env *env) {
	b := env.connect(t)
	seen := pipeline(t, b)
	arrive(t, b, seen, "a")
	js := env.jetstream(t)
	subject := events.SourceSubject(repo("pod.info"))
	if _, err := js.Publish(t.Context(), subject, []byte("this is no event")); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "sluice.source.x", []byte("nor is this")); err != nil {
		t.Fatal(err)
	}
	arrive(t, b, seen, "b")
	dead := events.DeadFanOutSubject("builder")
	eventually(t, "the dead letters", func() bool { return env.count(t, events.StreamDead, dead) == 2 })
	if got := env.last(t, events.StreamDead, dead); string(got.Data) != "nor is this" || got.Header.Get(bus.HeaderDeadSubject) != "sluice.source.x" {
		t.Errorf("the dead letter holds %q of %s", got.Data, got.Header.Get(bus.HeaderDeadSubject))
	}
	if history, err := b.History(t.Context(), subject); err != nil || len(history) != 2 {
		t.Errorf("history: %d events, %v, want 2", len(history), err)
	}
	if _, err := js.Publish(t.Context(), "sluice.check.build.0.malformed", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the malformed check is recorded", func() bool { return env.count(t, events.StreamDead, "sluice.dead.build.>") == 1 })
	arrive(t, b, seen, "c")
}

func testFanOutRetry(t *testing.T, env *env) {
	b := env.connect(t)
	var calls atomic.Int32
	seen := make(chan string, 10)
	fanOut(t, b, func(ctx context.Context, e event.Event, subject string) ([]bus.Target, error) {
		switch calls.Add(1) {
		case 1:
			return nil, errors.New("cache is not ready")
		case 2:
			panic("on purpose")
		}
		return dependent(ctx, e, subject)
	})
	work(t, b, bus.WorkConfig{}, func(_ context.Context, c bus.Check) (bus.Result, error) {
		seen <- c.Note.Revision
		return bus.Result{}, nil
	})
	report(t, b, repo("podinfo"), "a")
	if got := receive(t, "the check of the event", seen); got != "a" {
		t.Errorf("got revision %s", got)
	}
}

func testDeletedStreams(t *testing.T, env *env) {
	b := env.connect(t)
	js := env.jetstream(t)
	recovered := b.Recovered()
	seen := pipeline(t, b)
	arrive(t, b, seen, "start")
	for _, stream := range []string{events.StreamEvents, "BUILD", events.StreamLeases, events.StreamDead, events.StreamAudit} {
		sequence := open(t, b, events.SourceSubject(repo("pod.info"))).Sequence()
		if err := js.DeleteStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
		if stream == events.StreamEvents || stream == "BUILD" {
			receive(t, "services are told that "+stream+" was wiped", recovered)
		}
		eventually(t, stream+" is back", func() bool {
			_, err := js.Stream(t.Context(), stream)
			return err == nil
		})
		arrive(t, b, seen, "after "+stream)
		if now := open(t, b, events.SourceSubject(repo("pod.info"))).Sequence(); now <= sequence {
			t.Errorf("after %s: sequence went from %d to %d", stream, sequence, now)
		}
	}
	nothing(t, "services are told of a stream that holds nothing of theirs", recovered, 300*time.Millisecond)
}

func testEmptiedStreams(t *testing.T, env *env) {
	b := env.connect(t)
	js := env.jetstream(t)
	var told sync.WaitGroup
	told.Add(1)
	var once sync.Once
	b.OnRecovered(func() { once.Do(told.Done) })
	recovered := b.Recovered()
	seen := pipeline(t, b)
	arrive(t, b, seen, "start")
	timer := events.TimerSubject(events.StageBuild, app("pod.info"))
	eventually(t, "the timer is set", func() bool { return env.count(t, "BUILD", timer) == 1 })
	if err := b.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"BUILD", events.StreamEvents} {
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		receive(t, "services are told that "+stream+" was emptied", recovered)
		arrive(t, b, seen, "after "+stream)
	}
	told.Wait()
	eventually(t, "the timer is set again", func() bool { return env.count(t, "BUILD", timer) == 1 })
}
