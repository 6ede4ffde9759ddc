package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
)

// Log is a cursor over one subject of stream EVENTS, whose last message is the
// current truth. It is for one goroutine.
type Log struct {
	bus      *Bus
	subject  string
	sequence uint64
	last     event.Event
	found    bool
}

// Open reads the last message of a subject from the stream's leader. A last
// message that is no event leaves the log without a last event, and the next
// Append replaces it.
func (b *Bus) Open(ctx context.Context, subject string) (*Log, error) {
	l := &Log{bus: b, subject: subject}
	if err := l.read(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Log) read(ctx context.Context) error {
	msg, err := l.bus.lastMessage(ctx, events.StreamEvents, l.subject)
	if err != nil {
		return err
	}
	l.sequence, l.last, l.found = sequenceOf(msg), event.Event{}, false
	if msg == nil {
		return nil
	}
	e, err := events.FromHeaders(msg.Header, msg.Data)
	if err != nil {
		l.bus.log.Warn("the last message of a subject is no event", "subject", l.subject, "sequence", msg.Sequence, "error", err)
		return nil
	}
	l.last, l.found = e, true
	return nil
}

// Last returns the newest event of the subject, or false when there is none.
func (l *Log) Last() (event.Event, bool) { return l.last, l.found }

// Sequence returns the stream sequence of the newest message, 0 when there is none.
func (l *Log) Sequence() uint64 { return l.sequence }

// Append publishes an event after the newest one and moves the cursor to it. It
// sets the event's id and trace context. It returns ErrConflict when the subject
// moved since it was read: then open the log again and decide again. An event that
// is there already, from an attempt whose answer got lost, is a success.
func (l *Log) Append(ctx context.Context, e event.Event) error {
	if key, err := events.ParseSubject(l.subject); err == nil { // what it leads to is about to come
		l.bus.precedence.Expect(key.Namespace)
	}
	e.SetID(events.ID(e, l.subject, l.sequence))
	injectEvent(ctx, &e)
	header, payload, err := events.ToHeaders(e)
	if err != nil {
		return err
	}
	ack, err := l.bus.publish(ctx, &nats.Msg{Subject: l.subject, Header: nats.Header(header), Data: payload},
		jetstream.WithMsgID(e.ID()), jetstream.WithExpectLastSequencePerSubject(l.sequence))
	switch {
	case err == nil && (!ack.Duplicate || ack.Sequence > l.sequence):
		l.sequence, l.last, l.found = ack.Sequence, e, true
		return nil
	case err == nil, isConflict(err), errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return l.settle(ctx, e, err)
	}
	return fmt.Errorf("publish %s to %s: %w", e.Type(), l.subject, err)
}

// settle finds out what became of a publish whose answer does not say.
func (l *Log) settle(ctx context.Context, e event.Event, cause error) error {
	at := Log{bus: l.bus, subject: l.subject}
	if err := at.read(ctx); err != nil {
		return errors.Join(cause, err)
	}
	if at.found && at.last.ID() == e.ID() {
		l.sequence, l.last, l.found = at.sequence, at.last, true
		return nil
	}
	if cause != nil && !isConflict(cause) && at.sequence == l.sequence {
		return fmt.Errorf("publish %s to %s: %w", e.Type(), l.subject, cause)
	}
	l.bus.metrics.conflicts.Inc()
	return fmt.Errorf("publish %s to %s: %w", e.Type(), l.subject, ErrConflict)
}

// History returns the retained events of a subject, oldest first. Messages that
// are no events are left out. A subject with wildcards is an error: it has no end.
func (b *Bus) History(ctx context.Context, subject string) ([]event.Event, error) {
	if strings.ContainsAny(subject, "*>") {
		return nil, fmt.Errorf("read history of %q: it is not one subject", subject)
	}
	stream, err := b.handle(ctx, events.StreamEvents)
	if err != nil {
		return nil, err
	}
	var out []event.Event
	for next := uint64(1); ; {
		msg, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read history of %s: %w", subject, err)
		}
		if e, err := events.FromHeaders(msg.Header, msg.Data); err == nil {
			out = append(out, e)
		}
		next = msg.Sequence + 1
	}
}
