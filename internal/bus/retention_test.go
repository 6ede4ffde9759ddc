package bus_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
)

// TestWhatStaysOfAnObject: EVENTS keeps the newest of each object, whether it still
// exists or not; AUDIT keeps all, for as long as its age allows.
func TestWhatStaysOfAnObject(t *testing.T) {
	b := bustest.Connect(t, bustest.Server(t), bus.Config{})
	source := events.NewKey("GitRepository", "apps", "gone")
	log, err := b.Open(t.Context(), events.SourceSubject(source))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(b.Conn())
	if err != nil {
		t.Fatal(err)
	}
	const published = 20
	for n := range published {
		e, err := events.New("fetcher", source, events.SourceChanged{
			Source: source, UID: "u", Revision: fmt.Sprintf("main@sha1:%d", n), Digest: "sha256:0", Artifact: "a",
		}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		follows(t, js, uint64(n+1))
	}
	if err := b.Forget(t.Context(), events.StageFetch, source); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stream string
		kept   uint64
		age    time.Duration
	}{{"EVENTS", 16, 0}, {"AUDIT", published, 90 * 24 * time.Hour}} {
		info := infoOf(t, js, c.stream)
		if info.State.Msgs != c.kept || info.Config.MaxAge != c.age {
			t.Errorf("%s keeps %d events for %s, want %d for %s", c.stream, info.State.Msgs, info.Config.MaxAge, c.kept, c.age)
		}
	}
}

// follows waits until AUDIT has the newest event. It follows EVENTS by itself, and a
// burst of more than 16 events of one object may outrun it.
func follows(t *testing.T, js jetstream.JetStream, count uint64) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for infoOf(t, js, "AUDIT").State.Msgs < count {
		if time.Now().After(deadline) {
			t.Fatalf("AUDIT does not get event %d", count)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func infoOf(t *testing.T, js jetstream.JetStream, name string) *jetstream.StreamInfo {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo()
}
