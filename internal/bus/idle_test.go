package bus_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
)

// TestIdle counts the messages that an idle process exchanges with NATS. It
// watches between two verifications of the streams.
func TestIdle(t *testing.T) {
	server := bustest.Server(t)
	b := bustest.Connect(t, server, bus.Config{URL: server.URL(), VerifyEvery: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	for _, stage := range events.Stages() {
		running.Go(func() {
			if err := b.Work(ctx, bus.WorkConfig{Stage: stage}, func(context.Context, bus.Check) (bus.Result, error) { return bus.Result{}, nil }); err != nil {
				t.Error(err)
			}
		})
		running.Go(func() {
			name := func(context.Context, event.Event, string) ([]bus.Target, error) { return nil, nil }
			if err := b.FanOut(ctx, bus.FanOutConfig{Name: string(stage), Subjects: []string{"sluice.hook.>"}}, name); err != nil {
				t.Error(err)
			}
		})
	}
	settled := b.Conn().Stats()
	for same := 0; same < 10; { // 200 ms without traffic
		<-time.After(20 * time.Millisecond)
		now := b.Conn().Stats()
		if now.InMsgs == settled.InMsgs && now.OutMsgs == settled.OutMsgs && now.OutMsgs > 30 {
			same++
		} else {
			same = 0
		}
		settled = now
	}
	<-time.After(2 * time.Second)
	now := b.Conn().Stats()
	if n := now.InMsgs + now.OutMsgs - settled.InMsgs - settled.OutMsgs; n > 30 {
		t.Errorf("%d messages in two idle seconds, want a heartbeat of each consumer at most", n)
	}
}
