package harness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
)

// Entry is one event of the log with its place in it.
type Entry struct {
	Sequence uint64
	Subject  string
	Event    event.Event
}

// Log reads the EVENTS stream as an outside subscriber does.
type Log struct {
	connection *nats.Conn
	stream     jetstream.JetStream
}

// OpenLog connects to NATS; options carry the subscriber's credentials.
func OpenLog(url string, options ...nats.Option) (*Log, error) {
	c, err := nats.Connect(url, append([]nats.Option{nats.Name("audit"), nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond)}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", url, err)
	}
	js, err := jetstream.New(c)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to JetStream: %w", err)
	}
	return &Log{connection: c, stream: js}, nil
}

// Close ends the connection.
func (l *Log) Close() { l.connection.Close() }

// Read returns what EVENTS holds now, in order.
func (l *Log) Read(ctx context.Context) ([]Entry, error) {
	stream, err := l.stream.Stream(ctx, events.StreamEvents)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", events.StreamEvents, err)
	}
	last := stream.CachedInfo().State.LastSeq
	if stream.CachedInfo().State.Msgs == 0 {
		return nil, nil
	}
	var entries []Entry
	err = l.Follow(ctx, func(e Entry) bool {
		entries = append(entries, e)
		return e.Sequence < last
	})
	return entries, err
}

// Follow calls see with every event from the start of the log on, in order, until
// see returns false or ctx ends.
func (l *Log) Follow(ctx context.Context, see func(Entry) bool) error {
	consumer, err := l.stream.OrderedConsumer(ctx, events.StreamEvents, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("follow stream %s: %w", events.StreamEvents, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("follow stream %s: %w", events.StreamEvents, err)
	}
	defer messages.Stop()
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	for {
		message, err := messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("follow stream %s: %w", events.StreamEvents, err)
		}
		meta, err := message.Metadata()
		if err != nil {
			return fmt.Errorf("follow stream %s: %w", events.StreamEvents, err)
		}
		e, err := events.FromHeaders(message.Headers(), message.Data())
		if err != nil {
			return fmt.Errorf("read event %d on %s: %w", meta.Sequence.Stream, message.Subject(), err)
		}
		if !see(Entry{Sequence: meta.Sequence.Stream, Subject: message.Subject(), Event: e}) {
			return nil
		}
	}
}
