package claim

import (
	"context"
	"errors"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Claim is the right to carry out one attempt, held until somebody else writes
// the object's status.
type Claim struct {
	writer *Writer
	held   *kustomizev1.Kustomization
}

// Take claims an attempt: it writes next's status on read's resourceVersion.
func (w *Writer) Take(ctx context.Context, read, next *kustomizev1.Kustomization) (*Claim, error) {
	held, err := w.Status(ctx, read, next)
	if err != nil {
		return nil, err
	}
	return &Claim{writer: w, held: held}, nil
}

// Object returns the object as it was claimed; do not change it.
func (c *Claim) Object() *kustomizev1.Kustomization { return c.held }

// Hold fails when the claim is lost: the context ended (the lease with it), the
// object is gone, or its status was written by somebody else. It sends nothing.
func (c *Claim) Hold(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("hold claim: %w", context.Cause(ctx))
	}
	name := client.ObjectKeyFromObject(c.held)
	now, err := c.writer.reader.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("hold claim: %w", err)
	}
	if now == nil || now.UID != c.held.UID {
		return fmt.Errorf("hold claim on Kustomization %s: %w", name, ErrLost)
	}
	if after(now, c.held) && !equality.Semantic.DeepEqual(now.Status, c.held.Status) {
		return fmt.Errorf("hold claim on Kustomization %s: %w", name, ErrLost)
	}
	return nil
}

// Write writes next's status on the claim. When only spec or metadata moved in
// the meantime the claim still stands, so the write goes on the newest version;
// the new spec is for the next pass.
func (c *Claim) Write(ctx context.Context, next *kustomizev1.Kustomization) error {
	written, err := c.writer.Status(ctx, c.held, next)
	if err == nil {
		c.held = written
		return nil
	}
	if !errors.Is(err, ErrLost) {
		return err
	}
	live, liveErr := c.writer.reader.Live(ctx, client.ObjectKeyFromObject(c.held))
	if liveErr != nil {
		return errors.Join(err, liveErr)
	}
	if live == nil || live.UID != c.held.UID || !equality.Semantic.DeepEqual(live.Status, c.held.Status) {
		return err
	}
	moved := live.DeepCopy()
	moved.Status = next.Status
	if written, err = c.writer.Status(ctx, live, moved); err != nil {
		return err
	}
	c.held = written
	return nil
}

// Watch returns a claim that nothing was written for: it is lost like any other,
// and is for work that leaves the status alone.
func (w *Writer) Watch(read *kustomizev1.Kustomization) *Claim {
	return &Claim{writer: w, held: read}
}
