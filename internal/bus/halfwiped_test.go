package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
)

// TestHalfWiped wipes EVENTS while another stream cannot be verified: services are told
// all the same, at once if they can do without that stream, else when it is well again.
func TestHalfWiped(t *testing.T) {
	const looks = 200 * time.Millisecond
	for _, c := range []struct {
		reason, broken string
		needed         bool
	}{
		{"dead letters are not needed to check every key", events.StreamDead, false},
		{"where checks go is", events.CheckStream(events.StageBuild), true},
	} {
		t.Run(c.reason, func(t *testing.T) {
			server := bustest.Server(t)
			b := bustest.Connect(t, server, bus.Config{Name: "builder", VerifyEvery: looks})
			recovered := b.Recovered()
			conn, err := nats.Connect("", nats.InProcessServer(server))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			js, err := jetstream.New(conn)
			if err != nil {
				t.Fatal(err)
			}
			set := func(change func(*jetstream.StreamConfig)) {
				t.Helper()
				stream, err := js.Stream(t.Context(), c.broken)
				if err != nil {
					t.Fatal(err)
				}
				config := stream.CachedInfo().Config
				change(&config)
				if _, err := js.UpdateStream(t.Context(), config); err != nil {
					t.Fatal(err)
				}
			}
			var was int64
			set(func(config *jetstream.StreamConfig) { was, config.MaxMsgsPerSubject = config.MaxMsgsPerSubject, 7 })
			before, err := js.Stream(t.Context(), events.StreamEvents)
			if err != nil {
				t.Fatal(err)
			}
			if err := js.DeleteStream(t.Context(), events.StreamEvents); err != nil {
				t.Fatal(err)
			}
			anew(t, js, before.CachedInfo().Created)
			if c.needed {
				select {
				case <-recovered:
					t.Error("services are told although they could not do anything about it")
				case <-time.After(5 * looks):
				}
				set(func(config *jetstream.StreamConfig) { config.MaxMsgsPerSubject = was })
			}
			select {
			case <-recovered:
			case <-time.After(50 * looks):
				t.Error("EVENTS was wiped and made anew, and nobody was told")
			}
		})
	}
}

// anew waits until EVENTS is there again.
func anew(t *testing.T, js jetstream.JetStream, before time.Time) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		stream, err := js.Stream(ctx, events.StreamEvents)
		if err == nil && stream.CachedInfo().Created.After(before) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("EVENTS is not made anew: %v", err)
		}
	}
}
