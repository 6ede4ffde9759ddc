// Package bustest gives tests a bus over an embedded NATS server, and holds the
// suite that every way of connecting to NATS must pass.
package bustest

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/natsserver"
)

// Server starts an embedded NATS server that ends with the test.
func Server(t testing.TB) *natsserver.Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-nats-") //nolint:usetesting // that removes without patience
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, dir) })
	return ServerIn(t, dir, -1)
}

// remove removes the folder of a server that was stopped. On a disk that is slow the server waits a tenth of a second for a
// file that it is writing, and no longer, so that the file may come while the folder goes.
func remove(t testing.TB, dir string) {
	t.Helper()
	err := os.RemoveAll(dir)
	for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); err = os.RemoveAll(dir) {
		<-time.After(100 * time.Millisecond)
	}
	if err != nil {
		t.Errorf("remove the folder of a NATS server: %v", err)
	}
}

// ServerIn starts an embedded NATS server with files in dir, on a port as
// natsserver.Config has it, that ends with the test.
func ServerIn(t testing.TB, dir string, port int) *natsserver.Server {
	t.Helper()
	// The test's context ends before its cleanups, which still need the server.
	s, err := natsserver.Start(context.WithoutCancel(t.Context()), natsserver.Config{StoreDir: dir, Port: port, Logger: Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Connect returns a bus on the server that ends with the test. It serves every
// stage, unless cfg names a service.
func Connect(t testing.TB, s *natsserver.Server, cfg bus.Config) *bus.Bus {
	t.Helper()
	if cfg.URL == "" && cfg.InProcess == nil {
		cfg.InProcess = s
	}
	if cfg.Logger == nil {
		cfg.Logger = Logger(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b, err := bus.Connect(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Logf("close bus: %v", err)
		}
	})
	return b
}

// Run returns a bus that serves every stage, on a server of its own. Both end
// with the test; stop Work and FanOut before.
func Run(t testing.TB) *bus.Bus {
	t.Helper()
	return Connect(t, Server(t), bus.Config{})
}

// Logger returns a logger that writes warnings to the test's log.
func Logger(t testing.TB) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// Kill cuts a bus off from NATS without a word, as a killed process would be. Work
// and FanOut on it go on without effect until their contexts end.
func Kill(b *bus.Bus) { b.Conn().Close() }
