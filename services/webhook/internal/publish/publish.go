package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/sluice-gitops/sluice/internal/bus"
)

// pause is how long a delivery waits, at most, that another replica's overtook.
const pause = 50 * time.Millisecond

// Publisher appends events to the log of their subject. Its methods may be called
// concurrently; do not copy it after first use.
type Publisher struct {
	Bus *bus.Bus

	// turns has a place for one delivery of each subject.
	turns sync.Map
}

// Publish returns once the bus has the event, or ctx ends. Deliveries of one Receiver that
// arrive together are appended one after the other.
func (p *Publisher) Publish(ctx context.Context, subject string, e event.Event) error {
	turn, _ := p.turns.LoadOrStore(subject, make(chan struct{}, 1))
	select {
	case turn.(chan struct{}) <- struct{}{}:
		defer func() { <-turn.(chan struct{}) }()
	case <-ctx.Done():
		return fmt.Errorf("publish to %s: wait for earlier deliveries: %w", subject, context.Cause(ctx))
	}
	for {
		log, err := p.Bus.Open(ctx, subject)
		if err != nil {
			return fmt.Errorf("open log of %s: %w", subject, err)
		}
		err = log.Append(ctx, e)
		if err == nil {
			return nil
		}
		if !errors.Is(err, bus.ErrConflict) {
			return fmt.Errorf("publish to %s: %w", subject, err)
		}
		select {
		case <-time.After(rand.N(pause)): //nolint:gosec // spreads load, guards nothing
		case <-ctx.Done():
			return fmt.Errorf("publish to %s: %w", subject, errors.Join(err, context.Cause(ctx)))
		}
	}
}
