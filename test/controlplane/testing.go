package controlplane

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// Main runs the tests of a package, which share one control plane, and returns the code to
// exit with. It is what a TestMain calls; begin gets the control plane before the first test.
func Main(m *testing.M, options Options, begin func(*ControlPlane)) int {
	c, err := Start(context.Background(), options)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	begin(c)
	code := m.Run()
	if err := c.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

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
