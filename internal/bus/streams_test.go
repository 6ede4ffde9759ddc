package bus_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
)

// TestDefinitions holds deploy/nats/streams.json to the names and subjects of
// package events and to what the bus relies on.
func TestDefinitions(t *testing.T) {
	defs, err := bus.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	key := events.NewKey("Kustomization", "apps", "pod.info")
	want := map[string][]string{
		events.StreamEvents: {events.SourceSubject(key), events.BuildSubject("hub", key), events.ApplySubject("hub", key), events.HookSubject("apps", "git.hub")},
		events.StreamLeases: {events.LeaseSubject(events.StageFetch, key), events.LossSubject(events.StageFetch, key)},
		events.StreamDead:   {events.DeadSubject(events.StageFetch, key), events.DeadFanOutSubject("builder")},
		events.StreamAudit:  nil,
	}
	for _, s := range events.Stages() {
		want[events.CheckStream(s)] = []string{events.CheckSubject(s, key), events.TimerSubject(s, key), events.RetrySubject(s, key), events.MarkerSubject(s)}
	}
	if len(defs) != len(want) {
		t.Errorf("%d streams are defined, want %d", len(defs), len(want))
	}
	for _, def := range defs {
		subjects, known := want[def.Name]
		if !known {
			t.Errorf("stream %s is not one of package events", def.Name)
		}
		for _, subject := range subjects {
			for _, other := range defs {
				if got := matches(other.Subjects, subject); got != (other.Name == def.Name) {
					t.Errorf("%s in stream %s: %v", subject, other.Name, got)
				}
			}
		}
		queue := def.Retention == jetstream.WorkQueuePolicy
		if got := []bool{def.AllowMsgSchedules, def.MaxMsgsPerSubject == 1 && def.Name != events.StreamLeases}; !cmp.Equal(got, []bool{queue, queue}) {
			t.Errorf("stream %s: a queue %v, schedules and one message a subject %v", def.Name, queue, got)
		}
		if def.AllowDirect || def.Discard != jetstream.DiscardOld || def.Storage != jetstream.FileStorage {
			t.Errorf("stream %s: reads must go to the leader, old messages make room, messages are on disk", def.Name)
		}
	}
}

func matches(filters []string, subject string) bool {
	for _, f := range filters {
		if prefix := f[:len(f)-1]; len(subject) > len(prefix) && subject[:len(prefix)] == prefix {
			return true
		}
	}
	return false
}

// TestForeignStream expects a stream with the wrong configuration to be corrected by
// whoever may, and to be refused by a service.
func TestForeignStream(t *testing.T) {
	server := bustest.Server(t)
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	wrong := jetstream.StreamConfig{Name: events.StreamEvents, Subjects: []string{"sluice.source.>"}, AllowDirect: true, MaxMsgsPerSubject: 64}
	if _, err := js.CreateStream(t.Context(), wrong); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := bus.Connect(short, bus.Config{InProcess: server, Name: "fetcher", Logger: bustest.Logger(t)}); err == nil {
		t.Error("a service accepted a stream it cannot work with")
	}
	bustest.Connect(t, server, bus.Config{})
	s, err := js.Stream(t.Context(), events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	if cfg := s.CachedInfo().Config; cfg.AllowDirect || len(cfg.Subjects) != 4 || cfg.MaxMsgsPerSubject != 64 {
		t.Errorf("corrected to %+v", cfg)
	}
}

// TestOlderQueue expects the queue of an older version, which sends no copies of its
// checks, to be corrected with what it holds.
func TestOlderQueue(t *testing.T) {
	server := bustest.Server(t)
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	defs, err := bus.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	name := events.CheckStream(events.StageApply)
	older := defs[slices.IndexFunc(defs, func(def jetstream.StreamConfig) bool { return def.Name == name })]
	older.RePublish = nil
	if _, err := js.CreateStream(t.Context(), older); err != nil {
		t.Fatal(err)
	}
	key := events.NewKey("Kustomization", "apps", "podinfo")
	if _, err := js.Publish(t.Context(), events.CheckSubject(events.StageApply, key), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	bustest.Connect(t, server, bus.Config{})
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	want := &jetstream.RePublish{Source: "sluice.check.apply.>", Destination: "sluice.waiting.apply.>"}
	if diff := cmp.Diff(want, s.CachedInfo().Config.RePublish); diff != "" {
		t.Error(diff)
	}
	copies, err := nc.SubscribeSync(events.WaitingFilter(events.StageApply))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), events.CheckSubject(events.StageApply, key), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, err := copies.NextMsg(20 * time.Second); err != nil {
		t.Errorf("no copy of a check: %v", err)
	}
	if _, err := s.GetLastMsgForSubject(t.Context(), events.CheckSubject(events.StageApply, key)); err != nil {
		t.Errorf("the check is lost: %v", err)
	}
}
