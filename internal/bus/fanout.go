package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
	"go.opentelemetry.io/otel/trace"
)

const (
	fanOutBatch    = 16
	fanOutDeadline = 20 * time.Second
)

// FanOut turns events into checks until ctx ends: it calls name for every event
// and queues the checks it returns before the event is acknowledged. A fan-out
// that is new, or whose stream was wiped, begins with the last event of every
// subject. A message that is no event is recorded as a dead letter and passed over.
func (b *Bus) FanOut(ctx context.Context, cfg FanOutConfig, name FanOutHandler) error {
	if cfg.Name == "" || len(cfg.Subjects) == 0 {
		return errors.New("configure fan-out: a name and subjects are needed")
	}
	f := &fanOut{bus: b, cfg: cfg, name: name}
	b.consume(ctx, events.StreamEvents, f.consumer(), fanOutBatch, func(m *delivery) { f.take(ctx, m) })
	return nil
}

// fanOut is one call of FanOut.
type fanOut struct {
	bus  *Bus
	cfg  FanOutConfig
	name FanOutHandler
}

func (f *fanOut) consumer() jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable:       f.cfg.Name,
		Description:   "Events that become checks; every replica takes from it.",
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       f.bus.cfg.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: 64 * fanOutBatch,
		MaxWaiting:    512,
	}
	if len(f.cfg.Subjects) == 1 {
		c.FilterSubject = f.cfg.Subjects[0]
		return c
	}
	c.FilterSubjects = f.cfg.Subjects
	return c
}

func (f *fanOut) take(ctx context.Context, m *delivery) {
	ctx, cancel := context.WithTimeout(ctx, fanOutDeadline)
	defer cancel()
	e, err := events.FromHeaders(m.header, m.data)
	if err != nil {
		f.discard(ctx, m, err)
		return
	}
	ctx, span := f.bus.tracer.Start(ContextOf(ctx, e), "fan out "+e.Type(), trace.WithSpanKind(trace.SpanKindConsumer))
	defer span.End()
	targets, err := f.call(ctx, e, m.subject)
	if err == nil {
		err = f.bus.Check(ctx, targets...)
	}
	outcome := outcomeDone
	switch {
	case isPermanent(err):
		f.discard(ctx, m, err)
		return
	case err != nil:
		outcome = outcomeRetry
		f.giveBack(m)
	default:
		err = m.ack()
	}
	f.bus.metrics.fanned.WithLabelValues(f.cfg.Name, outcome).Inc()
	f.report(ctx, e, m, len(targets), err)
}

func (f *fanOut) call(ctx context.Context, e event.Event, subject string) (targets []Target, err error) {
	defer func() {
		if r := recover(); r != nil {
			f.bus.log.ErrorContext(ctx, "fan-out panicked", "fanout", f.cfg.Name, "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("fan-out panicked: %v", r)
		}
	}()
	return f.name(ctx, e, subject)
}

func (f *fanOut) giveBack(m *delivery) {
	delay := backoff(250*time.Millisecond, 30*time.Second, int(min(m.deliveries, 32)))
	_ = m.nakIn(delay) // when this fails NATS redelivers after the ack wait
}

func (f *fanOut) discard(ctx context.Context, m *delivery, cause error) {
	f.bus.metrics.fanned.WithLabelValues(f.cfg.Name, outcomeDead).Inc()
	f.bus.log.ErrorContext(ctx, "passed over a message", "fanout", f.cfg.Name, "subject", m.subject, "sequence", m.sequence, "error", cause)
	if err := f.bus.bury(ctx, events.DeadFanOutSubject(f.cfg.Name), m, cause); err != nil {
		f.bus.log.ErrorContext(ctx, "cannot record a dead letter, trying again", "error", err)
		f.giveBack(m)
		return
	}
	_ = m.ack() // unacknowledged it comes back and is recorded again
}

func (f *fanOut) report(ctx context.Context, e event.Event, m *delivery, checks int, err error) {
	attrs := []any{
		"fanout", f.cfg.Name, "event_id", e.ID(), "type", e.Type(), "subject", m.subject,
		"sequence", m.sequence, "checks", checks, "trace_id", traceID(ctx),
	}
	if err != nil {
		f.bus.log.WarnContext(ctx, "event not turned into checks, trying again", append(attrs, "error", err)...)
		return
	}
	f.bus.log.DebugContext(ctx, "event turned into checks", attrs...)
}
