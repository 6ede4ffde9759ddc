package share

import (
	"context"
	"math"
)

// Turns lets one go on at a time, and tenants in turn: of each one waits for the others, and the rest of its own
// wait for that one. It is safe for concurrent use.
type Turns struct{ own, all *Line }

// NewTurns returns turns that nobody waits for.
func NewTurns() *Turns { return &Turns{own: New(math.MaxInt32, 1), all: New(1, 1)} }

// Enter waits for a tenant's turn until the context ends, whose cause it then returns. Leave ends the turn.
func (t *Turns) Enter(ctx context.Context, tenant string) error {
	if err := t.own.Enter(ctx, tenant); err != nil {
		return err
	}
	if err := t.all.Enter(ctx, tenant); err != nil {
		t.own.Leave(tenant)
		return err
	}
	return nil
}

// Leave ends a tenant's turn.
func (t *Turns) Leave(tenant string) {
	t.all.Leave(tenant) // first, so that another tenant that waits is before the next one of this
	t.own.Leave(tenant)
}

// Waiting is how many wait.
func (t *Turns) Waiting() int { return t.own.Waiting() + t.all.Waiting() }
