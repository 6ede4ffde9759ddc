package e2e

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/test/controlplane"
	"github.com/sluice-gitops/sluice/test/harness"
)

// world is what all tests of the package share; every test has a namespace of its own in it.
var world *harness.World

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	world, err = harness.NewWorld(ctx, harness.WorldOptions{
		Plane:    controlplane.Options{NoNodes: true, RequestLog: true},
		Progress: os.Stderr, Token: "e2e-only-token", SluiceArgs: []string{"--external-artifacts"},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the world:", err)
		return 1
	}
	code := m.Run()
	if code != 0 && os.Getenv("E2E_KEEP_LOG") != "" {
		err = os.Link(world.Sluice.Log(), os.Getenv("E2E_KEEP_LOG"))
	}
	if closed := world.Close(); closed != nil || err != nil {
		fmt.Fprintln(os.Stderr, "close the world:", closed, err)
		return 1
	}
	return code
}

// limit bounds every wait; what is meant to be quick has a bound of its own.
const limit = 30 * time.Second

// within returns a context that ends with the test or after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
