package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/sluice-gitops/sluice/internal/bus"
)

// tries bounds how often a delivery yields to another one of the same Receiver.
const tries = 8

// Publisher appends events to the log of their subject.
type Publisher struct{ Bus *bus.Bus }

// Publish returns once the bus has the event. Deliveries of one Receiver that
// arrive together are appended one after the other.
func (p Publisher) Publish(ctx context.Context, subject string, e event.Event) error {
	var err error
	for range tries {
		var log *bus.Log
		log, err = p.Bus.Open(ctx, subject)
		if err != nil {
			return fmt.Errorf("open log of %s: %w", subject, err)
		}
		err = log.Append(ctx, e)
		if !errors.Is(err, bus.ErrConflict) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("publish to %s: %w", subject, err)
	}
	return nil
}
