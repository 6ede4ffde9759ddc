package controlplane

import (
	"context"
	"testing"
)

// StartT starts a control plane that ends with the test, which fails if it cannot
// start. It takes at most one Options.
func StartT(t testing.TB, options ...Options) *ControlPlane {
	t.Helper()
	var o Options
	if len(options) > 0 {
		o = options[0]
	}
	// Not the test's own context: that ends before the test's cleanups, which may still need the cluster.
	c, err := Start(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		failed := c.Err()
		if err := c.Stop(); err != nil {
			t.Errorf("stop control plane: %v", err)
		}
		if failed != nil {
			t.Errorf("control plane failed during the test: %v", failed)
		}
	})
	return c
}
