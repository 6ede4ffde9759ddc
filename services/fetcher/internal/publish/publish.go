// Package publish makes the newest event of a source say what is known of it.
package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
)

// tries is how often an event is made anew that somebody else's overtook.
const tries = 3

// Log is where events go.
type Log interface {
	Open(ctx context.Context, subject string) (*bus.Log, error)
}

// Append publishes data about a source unless current says that the newest event tells it already.
func Append(ctx context.Context, to Log, key events.Key, current func(*bus.Log) bool, data func(*bus.Log) events.Data) error {
	subject := events.SourceSubject(key)
	var err error
	for range tries {
		var log *bus.Log
		if log, err = to.Open(ctx, subject); err != nil {
			return fmt.Errorf("read events of %s: %w", key, err)
		}
		if current(log) {
			return nil
		}
		var e cloudevent.Event
		if e, err = events.New("fetcher", key, data(log), time.Now()); err != nil {
			return err
		}
		if err = log.Append(ctx, e); !errors.Is(err, bus.ErrConflict) {
			return err
		}
	}
	return err
}

// Last decodes the newest event of a log as T.
func Last[T events.Data](log *bus.Log) (T, bool) {
	var none T
	e, ok := log.Last()
	if !ok {
		return none, false
	}
	data, err := events.Decode[T](e)
	return data, err == nil
}

// Changed publishes what a source's artifact is now, with the revision before it.
func Changed(ctx context.Context, to Log, now events.SourceChanged) error {
	return Append(ctx, to, now.Source, func(log *bus.Log) bool {
		last, ok := Last[events.SourceChanged](log)
		return ok && last.UID == now.UID && last.Revision == now.Revision && last.Digest == now.Digest && last.Artifact == now.Artifact
	}, func(log *bus.Log) events.Data {
		last, ok := Last[events.SourceChanged](log)
		if ok && last.UID == now.UID && last.Revision != now.Revision {
			now.PreviousRevision = last.Revision
		}
		return now
	})
}

// Failed publishes why a source has no new artifact.
func Failed(ctx context.Context, to Log, now events.SourceFailed) error {
	return Append(ctx, to, now.Source,
		func(log *bus.Log) bool { last, ok := Last[events.SourceFailed](log); return ok && last == now },
		func(*bus.Log) events.Data { return now })
}
