package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
)

// A check whose process dies while it is at it comes again, and would for ever. So one that comes again although this process
// did not put it back is counted beside its lease before it is worked on, and the count is removed afterwards. A count
// that is still there when the check comes once more says how many processes died at it; from the third on it waits,
// longer each time, and the others are done meanwhile.

const (
	lostSpared = 3
	firstLost  = 8 * time.Second
	lastLost   = 5 * time.Minute
	// lostTTL ends a count that nobody removes, as of a check that a newer one replaced.
	lostTTL = time.Hour
	// maxReturned bounds what is remembered as put back. What is forgotten is counted, which costs a write.
	maxReturned = 4096
)

// loss is what is stored of a check that came again.
type loss struct {
	// Sequence is that of the check in its stream.
	Sequence uint64 `json:"sequence"`
	// Begun is how often it was begun since it first came again.
	Begun int `json:"begun"`
	// Until is how long it waits; zero while it does not.
	Until time.Time `json:"until,omitzero"`
}

// count is the loss of a check as it is stored.
type count struct {
	bus     *Bus
	subject string
	// at is its sequence in LEASES, zero when nothing is stored.
	at uint64
	loss
}

// counted counts that a check is begun, if it came again from elsewhere; nil if not. Or it returns how long the check has to
// wait instead.
func (w *work) counted(ctx context.Context, key events.Key, m *delivery) (c *count, wait time.Duration, err error) {
	if m.deliveries < 2 || w.returned.took(m) {
		return nil, 0, nil
	}
	c = &count{bus: w.bus, subject: events.LossSubject(w.stage, key)}
	if err := c.read(ctx, m.sequence); err != nil {
		return nil, 0, err
	}
	now := time.Now()
	if c.Until.IsZero() && c.lost() >= lostSpared {
		c.Until = now.Add(backoff(firstLost, lastLost, c.lost()-lostSpared+1))
	}
	if wait = c.Until.Sub(now); wait > 0 {
		return c, wait, c.write(ctx)
	}
	c.Begun, c.Until = c.lost(), time.Time{}
	return c, 0, c.write(ctx)
}

// spare puts a check back that has to wait, and says why.
func (w *work) spare(ctx context.Context, check Check, m *delivery, held *lease, c *count, wait time.Duration) {
	if err := held.release(context.WithoutCancel(ctx)); err != nil {
		w.bus.log.Warn("cannot release a lease, it ends by itself", "subject", held.subject, "error", err)
	}
	w.report(ctx, check, outcomeBack, 0, fmt.Errorf("processes died %d times while they were at it: it waits for %s", c.lost(), wait.Round(time.Second)))
	m.returned = nil  // it is to be counted when it comes again
	_ = m.nakIn(wait) // when this fails NATS redelivers after the ack wait
}

// lost is how many processes died at the check: the first was not counted.
func (c *count) lost() int { return c.Begun + 1 }

func (c *count) read(ctx context.Context, sequence uint64) error {
	stored, err := c.bus.lastMessage(ctx, events.StreamLeases, c.subject)
	if err != nil {
		return err
	}
	if stored != nil && json.Unmarshal(stored.Data, &c.loss) == nil && c.Sequence == sequence {
		return nil
	}
	c.loss = loss{Sequence: sequence}
	return nil
}

func (c *count) write(ctx context.Context) error {
	body, err := json.Marshal(c.loss)
	if err != nil {
		return err
	}
	ack, err := c.bus.publish(ctx, &nats.Msg{Subject: c.subject, Data: body}, jetstream.WithMsgTTL(lostTTL))
	if err != nil {
		return fmt.Errorf("count a check that came again: %w", err)
	}
	c.at = ack.Sequence
	return nil
}

// end removes the count. Doing so to nil does nothing.
func (c *count) end(ctx context.Context) error {
	if c == nil || c.at == 0 {
		return nil
	}
	return c.bus.remove(ctx, events.StreamLeases, c.at)
}

// returned are the checks that this process put back, each as often as it had been delivered.
type returned struct {
	mu     sync.Mutex
	checks map[uint64]uint64
}

func (r *returned) put(m *delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.checks == nil || len(r.checks) >= maxReturned {
		r.checks = map[uint64]uint64{}
	}
	r.checks[m.sequence] = m.deliveries
}

// took says whether a check comes again because it was put back here, and forgets that.
func (r *returned) took(m *delivery) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, ok := r.checks[m.sequence]
	delete(r.checks, m.sequence)
	return ok && before+1 == m.deliveries
}
