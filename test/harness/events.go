package harness

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
)

// Entry is one message of the log with its place in it.
type Entry struct {
	// Sequence in stream EVENTS.
	Sequence uint64
	Subject  string
	Event    event.Event
	// Err says why a message is no event; Event is not to be used then.
	Err error
}

// Log reads what happened as an outside subscriber does: from stream AUDIT, which
// keeps every message of EVENTS, also those that EVENTS itself has let go.
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

// Read returns everything that EVENTS has taken until now, in order.
func (l *Log) Read(ctx context.Context) ([]Entry, error) {
	stream, err := l.stream.Stream(ctx, events.StreamEvents)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", events.StreamEvents, err)
	}
	if stream.CachedInfo().State.Msgs == 0 {
		return nil, nil
	}
	last := stream.CachedInfo().State.LastSeq
	var entries []Entry
	err = l.Follow(ctx, func(e Entry) bool {
		entries = append(entries, e)
		return e.Sequence < last
	})
	return entries, err
}

// Follow calls see with every message from the start of the log on, in order,
// until see returns false or ctx ends.
func (l *Log) Follow(ctx context.Context, see func(Entry) bool) error {
	return follow(ctx, l.stream, events.StreamAudit, see)
}

// FollowEvents calls see with every message of stream EVENTS itself, in order,
// until see returns false or ctx ends. It needs a user who may consume that stream.
func FollowEvents(ctx context.Context, connection *nats.Conn, see func(Entry) bool) error {
	js, err := jetstream.New(connection)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	return follow(ctx, js, events.StreamEvents, see)
}

func follow(ctx context.Context, js jetstream.JetStream, stream string, see func(Entry) bool) error {
	consumer, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("follow stream %s: %w", stream, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("follow stream %s: %w", stream, err)
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
			return fmt.Errorf("follow stream %s: %w", stream, err)
		}
		entry := Entry{Subject: message.Subject()}
		if entry.Sequence, err = sequenceOf(message); err != nil {
			return fmt.Errorf("follow stream %s: %w", stream, err)
		}
		entry.Event, entry.Err = events.FromHeaders(message.Headers(), message.Data())
		if !see(entry) {
			return nil
		}
	}
}

// sourceHeader is where a message that was sourced from another stream says from
// which one and with which sequence there.
const sourceHeader = "Nats-Stream-Source"

func sequenceOf(message jetstream.Msg) (uint64, error) {
	if fields := strings.Fields(message.Headers().Get(sourceHeader)); len(fields) > 1 && fields[0] == events.StreamEvents {
		sequence, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read header %s: %w", sourceHeader, err)
		}
		return sequence, nil
	}
	meta, err := message.Metadata()
	if err != nil {
		return 0, fmt.Errorf("read place of a message: %w", err)
	}
	return meta.Sequence.Stream, nil
}
