package controlplane

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// eventually waits until check returns nil, with the control plane's own waiting.
func eventually(t *testing.T, c *ControlPlane, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.await(ctx, what, check); err != nil {
		t.Fatal(err)
	}
}

// expect is nil when a reading succeeded and holds what is expected.
func expect(err error, ok bool, got any) error {
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("not yet: %v", got)
	}
	return nil
}

func contains(err error, text string) bool { return strings.Contains(err.Error(), text) }
