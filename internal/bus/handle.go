package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const (
	firstRetry = 750 * time.Millisecond
	lastRetry  = 15 * time.Minute
	firstBusy  = 25 * time.Millisecond
	lastBusy   = 500 * time.Millisecond
)

// one handles one message under the key's lease and reports whether it is
// acknowledged.
func (w *work) one(ctx context.Context, key events.Key, m *delivery) bool {
	check := w.check(key, m)
	ctx = extractHeader(ctx, m.header)
	ctx, span := w.bus.tracer.Start(ctx, "check "+string(w.stage), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("kind", key.Kind), attribute.String("namespace", key.Namespace), attribute.String("name", key.Name)))
	defer span.End()
	ctx, end := w.bus.precedence.Begin(ctx, key.Namespace)
	defer end()

	held, err := w.acquire(ctx, key)
	if err != nil {
		w.putBack(ctx, check, m, err)
		return false
	}
	count, wait, err := w.counted(ctx, key, m)
	if err != nil {
		w.bus.log.Warn("cannot count a check that came again", "subject", m.subject, "error", err) // and do it all the same
	}
	if wait > 0 {
		w.spare(ctx, check, m, held, count, wait)
		return false
	}
	began := time.Now()
	result, err := w.attempt(ctx, check, m, held)
	took := time.Since(began)
	w.bus.metrics.handling.WithLabelValues(string(w.stage)).Observe(took.Seconds())

	// What follows is done even when the worker is told to stop.
	after := context.WithoutCancel(ctx)
	if err := count.end(after); err != nil {
		w.bus.log.Warn("cannot remove the count of a check, it ends by itself", "subject", count.subject, "error", err)
	}
	outcome, done, serr := w.settle(after, check, m, result, err)
	w.bus.metrics.checks.WithLabelValues(string(w.stage), outcome).Inc()
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	w.report(ctx, check, outcome, took, errors.Join(err, serr))
	return done
}

// acquire takes the lease of a key. A worker that is alone needs none and gets nil.
func (w *work) acquire(ctx context.Context, key events.Key) (*lease, error) {
	if w.alone {
		return nil, nil
	}
	return w.bus.acquire(ctx, w.stage, key)
}

// check decodes a message. Its note is a hint: one that cannot be read is none.
func (w *work) check(key events.Key, m *delivery) Check {
	c := Check{Key: key, Sequence: m.sequence, Sent: m.sent, Deliveries: m.deliveries}
	if err := json.Unmarshal(m.data, &c.Note); err != nil {
		c.Note = Note{}
	}
	if m.deliveries == 1 {
		w.bus.metrics.waiting.WithLabelValues(string(w.stage)).Observe(time.Since(m.sent).Seconds())
	}
	return c
}

// putBack returns a message whose lease could not be had, for a moment that grows
// while the key stays busy.
func (w *work) putBack(ctx context.Context, c Check, m *delivery, err error) {
	delay := lastBusy
	if errors.Is(err, errBusy) {
		w.bus.metrics.busy.WithLabelValues(string(w.stage)).Inc()
		delay = backoff(firstBusy, lastBusy, int(min(c.Deliveries, 32)))
	} else if ctx.Err() == nil {
		w.report(ctx, c, outcomeBack, 0, err)
	}
	_ = m.nakIn(delay) // when this fails NATS redelivers after the ack wait
}

// attempt calls the handler while the lease and the message are kept alive, and
// gives the lease up afterwards.
func (w *work) attempt(ctx context.Context, c Check, m *delivery, held *lease) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, w.deadline)
	defer cancel()
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	var alive sync.WaitGroup
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	alive.Go(func() { w.keepAlive(keep, c.Key, m, held, lose) })

	result, err := w.call(ctx, c)

	stop()
	alive.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, ErrLeaseLost) {
		return result, errors.Join(cause, err)
	}
	if rerr := held.release(context.WithoutCancel(ctx)); rerr != nil {
		w.bus.log.Warn("cannot release a lease, it ends by itself", "subject", held.subject, "error", rerr)
	}
	return result, err
}

func (w *work) call(ctx context.Context, c Check) (result Result, err error) {
	defer func() {
		if r := recover(); r != nil {
			w.bus.log.ErrorContext(ctx, "handler panicked", "key", c.Key.String(), "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("handler panicked: %v", r)
		}
	}()
	return w.handle(ctx, c)
}

// keepAlive tells NATS that the message is in work, and the one parked behind it,
// and renews the lease. It ends with ctx, or with lose when the lease is lost.
func (w *work) keepAlive(ctx context.Context, key events.Key, m *delivery, held *lease, lose context.CancelCauseFunc) {
	ack := time.NewTicker(w.bus.cfg.AckWait / 3)
	defer ack.Stop()
	renew := time.NewTicker(w.bus.cfg.LeaseTTL / 3)
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ack.C:
			for _, msg := range []*delivery{m, w.parked(key)} {
				if msg != nil {
					_ = msg.inProgress() // the next tick is another chance
				}
			}
		case <-renew.C:
			err := held.renew(ctx)
			if errors.Is(err, ErrLeaseLost) {
				lose(err)
				return
			}
			if err != nil && ctx.Err() == nil {
				w.bus.log.Warn("cannot renew a lease, trying again", "subject", held.subject, "error", err)
			}
		}
	}
}

// settle does what a handler's outcome asks for and acknowledges the message, or
// returns it when that cannot be done. It reports the outcome, whether the message
// is acknowledged, and what went wrong on the way.
func (w *work) settle(ctx context.Context, c Check, m *delivery, result Result, err error) (outcome string, done bool, failure error) {
	switch {
	case errors.Is(err, ErrLeaseLost):
		_ = m.nakIn(firstBusy)
		return outcomeBack, false, nil
	case err == nil:
		outcome = outcomeDone
		done, failure = w.succeed(ctx, c, m, result)
	case isPermanent(err):
		outcome, failure = outcomeDead, w.bus.bury(ctx, events.DeadSubject(w.stage, c.Key), m, err)
		if failure == nil {
			failure = w.forgetRetries(ctx, c.Key, m)
		}
		done = true
	case w.stopping():
		m.nak()
		return outcomeBack, false, nil
	default:
		outcome, done = outcomeRetry, true
		failure = w.retry(ctx, c, m)
	}
	if failure != nil {
		_ = m.nakIn(firstRetry)
		return outcomeBack, false, failure
	}
	if done {
		failure = m.ack()
	}
	return outcome, done && failure == nil, failure
}

// succeed sets or removes the key's timer. A wait too short for a timer is a
// delayed redelivery of the same check.
func (w *work) succeed(ctx context.Context, c Check, m *delivery, result Result) (bool, error) {
	if result.Again > 0 {
		return w.again(ctx, c, m, result.Again)
	}
	if err := w.forgetRetries(ctx, c.Key, m); err != nil {
		return false, err
	}
	switch {
	case result.Next == Never:
		return true, w.bus.StopTimer(ctx, w.stage, c.Key)
	case result.Next > 0 && result.Next < shortestTimer:
		return false, m.nakIn(result.Next)
	case result.Next > 0:
		at := time.Now().Add(result.Next)
		return true, w.bus.schedule(ctx, events.TimerSubject(w.stage, c.Key), w.stage, c.Key, at, Note{Reason: ReasonTimer}, 0)
	}
	return true, nil
}

// again lets a check come again as it is.
func (w *work) again(ctx context.Context, c Check, m *delivery, wait time.Duration) (bool, error) {
	if wait < shortestTimer {
		return false, m.nakIn(wait)
	}
	return true, w.bus.schedule(ctx, events.TimerSubject(w.stage, c.Key), w.stage, c.Key, time.Now().Add(wait), c.Note, attemptOf(m))
}

// retry sets the key's retry timer. Attempts travel with the retry, so that
// another replica goes on counting, and are remembered here, so that checks sent
// for other reasons do too.
func (w *work) retry(ctx context.Context, c Check, m *delivery) error {
	w.mu.Lock()
	count := max(w.failures[c.Key], attemptOf(m)) + 1
	w.failures[c.Key] = count
	w.mu.Unlock()
	note := c.Note
	note.Reason = "retry"
	at := time.Now().Add(backoff(firstRetry, lastRetry, count))
	return w.bus.schedule(ctx, events.RetrySubject(w.stage, c.Key), w.stage, c.Key, at, note, count)
}

// forgetRetries ends a row of failures.
func (w *work) forgetRetries(ctx context.Context, key events.Key, m *delivery) error {
	w.mu.Lock()
	failed := w.failures[key] > 0
	delete(w.failures, key)
	w.mu.Unlock()
	w.said.Forget(key)
	if !failed && attemptOf(m) == 0 {
		return nil
	}
	return w.bus.purge(ctx, w.stage, events.RetrySubject(w.stage, key))
}

func (w *work) stopping() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.draining
}

// discard records a check whose subject names no key.
func (w *work) discard(ctx context.Context, m *delivery, cause error) {
	w.bus.metrics.checks.WithLabelValues(string(w.stage), outcomeDead).Inc()
	w.bus.log.Error("a check names no key", "subject", m.subject, "error", cause)
	if err := w.bus.bury(ctx, "sluice.dead."+string(w.stage)+".unknown", m, cause); err != nil {
		w.bus.log.Error("cannot record a dead letter, trying again", "error", err)
		_ = m.nakIn(firstRetry)
		return
	}
	_ = m.ack() // unacknowledged it comes back and is recorded again
}

func (w *work) report(ctx context.Context, c Check, outcome string, took time.Duration, err error) {
	attrs := []any{
		"stage", w.stage, "kind", c.Key.Kind, "namespace", c.Key.Namespace, "name", c.Key.Name,
		"reason", c.Note.Reason, "revision", c.Note.Revision, "sequence", c.Sequence,
		"outcome", outcome, "duration_ms", took.Milliseconds(), "trace_id", traceID(ctx),
	}
	switch {
	case err == nil:
		w.bus.log.DebugContext(ctx, "check handled", attrs...)
	case outcome == outcomeDead:
		w.bus.log.ErrorContext(ctx, "check cannot succeed", append(attrs, "error", err)...)
	case outcome == outcomeRetry && !w.said.News(c.Key, err.Error()):
		w.bus.log.DebugContext(ctx, "check failed again", append(attrs, "error", err)...)
	case outcome == outcomeRetry:
		w.bus.log.ErrorContext(ctx, "check failed", append(attrs, "error", err)...)
	default:
		w.bus.log.WarnContext(ctx, "check put back", append(attrs, "error", err)...)
	}
}

// attemptOf returns how often the check's key failed in a row when the retry was set.
func attemptOf(m *delivery) int {
	n, err := strconv.Atoi(m.header.Get(headerAttempt))
	if err != nil {
		return 0
	}
	return n
}

// backoff returns first for attempt 1 and doubles it up to last.
func backoff(first, last time.Duration, attempt int) time.Duration {
	for ; attempt > 1 && first < last; attempt-- {
		first *= 2
	}
	return min(first, last)
}
