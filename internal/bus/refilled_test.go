package bus_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
)

// TestRefilled empties EVENTS and fills it again between two looks, so that the
// number of its messages tells nothing.
func TestRefilled(t *testing.T) {
	const looks, messages = time.Second, 5
	server := bustest.Server(t)
	b := bustest.Connect(t, server, bus.Config{VerifyEvery: looks})
	conn, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	fill := func() {
		t.Helper()
		for range messages {
			if _, err := js.Publish(t.Context(), events.HookSubject("apps", "github"), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill()
	recovered := b.Recovered()
	select { // two looks, so that what was filled in is known
	case <-recovered:
		t.Fatal("services are told although nothing was lost")
	case <-time.After(2 * looks):
	}
	stream, err := js.Stream(t.Context(), events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	fill()
	select {
	case <-recovered:
	case <-time.After(10 * looks):
		t.Fatal("nobody is told that EVENTS was emptied")
	}
}
