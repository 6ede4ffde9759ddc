package natsserver_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/internal/natsserver"
)

func start(ctx context.Context, t *testing.T, cfg natsserver.Config) *natsserver.Server {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := natsserver.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func stream(t *testing.T, s *natsserver.Server, opts ...nats.Option) (jetstream.JetStream, *nats.Conn) {
	t.Helper()
	nc, err := nats.Connect(s.URL(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js, nc
}

func TestFilesOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	first := start(context.Background(), t, natsserver.Config{StoreDir: dir})
	if first.URL() != "" {
		t.Errorf("without a port the server listens on %s", first.URL())
	}
	js, nc := stream(t, first, nats.InProcessServer(first))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	first.Stop()
	first.Stop() // twice does no harm

	second := start(context.Background(), t, natsserver.Config{StoreDir: dir, Port: -1})
	js, _ = stream(t, second)
	s, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := s.GetLastMsgForSubject(t.Context(), "s")
	if err != nil || string(msg.Data) != "kept" {
		t.Errorf("got %v, %v", msg, err)
	}
}

func TestStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := start(ctx, t, natsserver.Config{StoreDir: t.TempDir(), Port: -1})
	closed := make(chan struct{})
	stream(t, s, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	cancel()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Error("the server outlives its context")
	}
}

func TestBadConfig(t *testing.T) {
	for reason, cfg := range map[string]natsserver.Config{
		"no folder":                      {},
		"a configuration that is broken": {StoreDir: t.TempDir(), ConfigText: "jetstream {"},
		"a variable that is not set":     {StoreDir: t.TempDir(), ConfigText: "server_name: $SLUICE_NO_SUCH_VARIABLE"},
		"a folder that cannot be made":   {StoreDir: "/dev/null/nats", StartTimeout: time.Second},
	} {
		if s, err := natsserver.Start(t.Context(), cfg); err == nil {
			s.Stop()
			t.Errorf("%s: started", reason)
		}
	}
}
