package bus

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// eventCarrier reads and writes the distributed tracing extension of CloudEvents.
type eventCarrier struct{ e *event.Event }

func (c eventCarrier) Get(key string) string {
	value, _ := c.e.Extensions()[key].(string) // an event without trace has none
	return value
}

func (c eventCarrier) Set(key, value string) { c.e.SetExtension(key, value) }

func (c eventCarrier) Keys() []string { return propagation.TraceContext{}.Fields() }

func injectEvent(ctx context.Context, e *event.Event) {
	propagation.TraceContext{}.Inject(ctx, eventCarrier{e})
}

// ContextOf returns ctx in the trace of the event.
func ContextOf(ctx context.Context, e event.Event) context.Context {
	return propagation.TraceContext{}.Extract(ctx, eventCarrier{&e})
}

// headerCarrier reads and writes trace context in NATS headers, which are case
// sensitive.
type headerCarrier nats.Header

func (c headerCarrier) Get(key string) string { return nats.Header(c).Get(key) }

func (c headerCarrier) Set(key, value string) { nats.Header(c).Set(key, value) }

func (c headerCarrier) Keys() []string { return propagation.TraceContext{}.Fields() }

func injectHeader(ctx context.Context, h nats.Header) {
	propagation.TraceContext{}.Inject(ctx, headerCarrier(h))
}

func extractHeader(ctx context.Context, h nats.Header) context.Context {
	return propagation.TraceContext{}.Extract(ctx, headerCarrier(h))
}

func traceID(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		return sc.TraceID().String()
	}
	return ""
}
