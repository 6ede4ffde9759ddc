package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	deploynats "github.com/sluice-gitops/sluice/deploy/nats"
	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
	"github.com/sluice-gitops/sluice/internal/natsserver"
)

const password = "only-for-tests"

// withUsers starts the server as deploy/nats configures it.
func withUsers(t *testing.T) *natsserver.Server {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("NATS_STORE_DIR", dir)
	for _, user := range []string{"FETCHER", "BUILDER", "APPLIER", "WEBHOOK", "AUDIT", "ADMIN"} {
		t.Setenv("NATS_"+user+"_PASSWORD", password)
	}
	s, err := natsserver.Start(context.WithoutCancel(t.Context()), natsserver.Config{
		StoreDir: dir, Port: -1, ConfigText: deploynats.ServerConfig(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// TestUsersDoTheirWork lets every service do all that it does, as the user that
// deploy/nats gives it, beginning with an empty server.
func TestUsersDoTheirWork(t *testing.T) {
	server := withUsers(t)
	key := events.NewKey("Kustomization", "apps", "podinfo")
	for _, c := range []struct {
		service string
		stage   events.Stage
		subject string
	}{
		{"fetcher", events.StageFetch, events.SourceSubject(key)},
		{"builder", events.StageBuild, events.BuildSubject("hub", key)},
		{"applier", events.StageApply, events.ApplySubject("hub", key)},
	} {
		t.Run(c.service, func(t *testing.T) {
			b := bustest.Connect(t, server, bus.Config{URL: server.URL(), Name: c.service, User: c.service, Password: password})
			if err := b.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			appendTo(t, b, c.subject)
			if history, err := b.History(t.Context(), c.subject); err != nil || len(history) != 1 {
				t.Fatalf("history: %d events, %v", len(history), err)
			}
			stageWork(t, b, c.service, c.stage, key)
			overtake(t, server, c.service, c.stage)
		})
	}
	t.Run("webhook", func(t *testing.T) {
		b := bustest.Connect(t, server, bus.Config{URL: server.URL(), Name: "webhook", User: "webhook", Password: password})
		if err := b.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		appendTo(t, b, events.HookSubject("apps", "github"))
	})
	t.Run("admin in one process", func(t *testing.T) {
		b := bustest.Connect(t, server, bus.Config{URL: server.URL(), User: "admin", Password: password})
		for _, stage := range events.Stages() {
			stageWork(t, b, "admin-"+string(stage), stage, events.NewKey("Kustomization", "apps", "other"))
		}
	})
	t.Run("audit", func(t *testing.T) { readAudit(t, server) })
}

func appendTo(t *testing.T, b *bus.Bus, subject string) {
	t.Helper()
	l, err := b.Open(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.New("test", events.NewKey("Receiver", "apps", "github"), events.HookReceived{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// overtake does what a worker does to take a check before its turn.
func overtake(t *testing.T, server *natsserver.Server, user string, stage events.Stage) {
	t.Helper()
	refused := make(chan error, 10)
	js := client(t, server, user, func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	if _, err := js.Conn().QueueSubscribeSync(events.WaitingFilter(stage), "test"); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), events.CheckStream(stage)) // the answer comes after a refusal
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 1); !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) && !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("remove a check: %v", err)
	}
	select {
	case err := <-refused:
		t.Error(err)
	default:
	}
}

// stageWork fans out, checks, sets timers, fails for good and forgets.
func stageWork(t *testing.T, b *bus.Bus, fanOut string, stage events.Stage, key events.Key) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	steps, done := make(chan string, 100), make(chan error, 2)
	go func() {
		done <- b.Work(ctx, bus.WorkConfig{Stage: stage}, func(_ context.Context, c bus.Check) (bus.Result, error) {
			steps <- c.Note.Reason
			switch c.Note.Reason {
			case "permanent":
				return bus.Result{}, bus.Permanent(errors.New("on purpose"))
			case "retry", "drift":
				return bus.Result{Next: bus.Never}, nil
			case "timer":
				return bus.Result{}, errors.New("on purpose")
			}
			return bus.Result{Next: 500 * time.Millisecond}, nil
		})
	}()
	go func() {
		done <- b.FanOut(ctx, bus.FanOutConfig{Name: fanOut, Subjects: []string{"sluice.source.>", "sluice.hook.>"}},
			func(context.Context, event.Event, string) ([]bus.Target, error) { return nil, nil })
	}()
	expect := func(reason string) {
		t.Helper()
		select {
		case got := <-steps:
			if got != reason {
				t.Errorf("got a check for %s, want %s", got, reason)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("no check for %s", reason)
		}
	}
	send := func(reason string) {
		t.Helper()
		if err := b.Check(t.Context(), bus.Target{Stage: stage, Key: key, Note: bus.Note{Reason: reason}}); err != nil {
			t.Error(err)
		}
		expect(reason)
	}
	send("spec")
	expect("timer") // set by the result
	expect("retry") // set by the failure
	send("permanent")
	send("drift")
	if err := b.Forget(t.Context(), stage, key); err != nil {
		t.Error(err)
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func readAudit(t *testing.T, server *natsserver.Server) {
	js := client(t, server, "audit", nil)
	consumer, err := js.OrderedConsumer(t.Context(), events.StreamAudit, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.Fetch(4, jetstream.FetchMaxWait(20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for msg := range batch.Messages() {
		if _, err := events.FromHeaders(msg.Headers(), msg.Data()); err != nil {
			t.Error(err)
		}
		n++
	}
	if n != 4 || batch.Error() != nil {
		t.Errorf("read %d events, %v, want the 4 that were published", n, batch.Error())
	}
}

func client(t *testing.T, server *natsserver.Server, user string, onError nats.ErrHandler) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(server.URL(), nats.UserInfo(user, password), nats.CustomInboxPrefix("_INBOX_"+user), nats.ErrorHandler(onError))
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

// TestUsersStayInTheirPlace lets every user try what belongs to another.
func TestUsersStayInTheirPlace(t *testing.T) {
	server := withUsers(t)
	bustest.Connect(t, server, bus.Config{URL: server.URL(), User: "admin", Password: password})
	publish := map[string]string{ // subject to the users that may publish there
		// A stage may ask the one before it to look again.
		"sluice.source.gitrepository.a.b": "fetcher", "sluice.check.fetch.0.gitrepository.a.b": "fetcher builder",
		"sluice.timer.fetch.0.gitrepository.a.b": "fetcher", "sluice.lease.fetch.gitrepository.a.b": "fetcher",
		"sluice.build.hub.kustomization.a.b": "builder", "sluice.check.build.0.kustomization.a.b": "builder applier",
		"sluice.timer.build.0.kustomization.a.b": "builder", "sluice.lease.build.kustomization.a.b": "builder",
		"sluice.apply.hub.kustomization.a.b": "applier", "sluice.check.apply.0.kustomization.a.b": "applier",
		"sluice.timer.apply.0.kustomization.a.b": "applier", "sluice.lease.apply.kustomization.a.b": "applier", "sluice.lease.apply.kustomization.a.b.lost": "applier",
		"sluice.ask.hub.helmrelease.a.b": "builder", "_INBOX_builder.a": "builder",
		"sluice.hook.a.b":                 "webhook",
		"$JS.API.STREAM.MSG.DELETE.FETCH": "fetcher", "$JS.API.STREAM.MSG.DELETE.BUILD": "builder", "$JS.API.STREAM.MSG.DELETE.APPLY": "applier",
		"sluice.waiting.fetch.0.gitrepository.a.b": "", "sluice.waiting.apply.0.kustomization.a.b": "", // NATS itself sends these
		"sluice.dead.fetch.gitrepository.a.b": "fetcher", "sluice.dead.fanout.builder": "builder",
		// Nobody's but admin's.
		"$JS.API.STREAM.DELETE.EVENTS": "", "$JS.API.STREAM.UPDATE.EVENTS": "", "$JS.API.STREAM.PURGE.EVENTS": "",
		"$JS.API.STREAM.MSG.DELETE.EVENTS": "", "$JS.API.STREAM.CREATE.OTHER": "", "$JS.API.STREAM.DELETE.FETCH": "",
		"$JS.API.STREAM.DELETE.BUILD": "", "$JS.API.STREAM.DELETE.APPLY": "", "$JS.API.CONSUMER.CREATE.EVENTS.other": "",
		"$JS.API.CONSUMER.DELETE.EVENTS.builder": "",
	}
	for _, user := range []string{"fetcher", "builder", "applier", "webhook", "audit"} {
		t.Run(user, func(t *testing.T) {
			refused := make(chan string, 100)
			js := client(t, server, user, func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err.Error() })
			for subject, owners := range publish {
				if slices.Contains(strings.Fields(owners), user) {
					continue
				}
				if err := js.Conn().Publish(subject, []byte("{}")); err != nil {
					t.Fatal(err)
				}
				expectRefusal(t, refused, subject)
			}
			if _, err := js.Conn().SubscribeSync("_INBOX_admin.>"); err != nil {
				t.Fatal(err)
			}
			expectRefusal(t, refused, "_INBOX_admin.>")
		})
	}
}

func expectRefusal(t *testing.T, refused <-chan string, subject string) {
	t.Helper()
	select {
	case err := <-refused:
		if !strings.Contains(strings.ToLower(err), "permissions violation") || !strings.Contains(err, subject) {
			t.Errorf("%s: got %q", subject, err)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("%s was allowed", subject)
	}
}
