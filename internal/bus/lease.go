package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
)

// errBusy says that another worker holds the lease.
var errBusy = errors.New("key is leased to another worker")

// lease keeps other workers from doing the same work. It is no fence: who writes
// to a cluster must be right without it. Renewing and releasing nil does nothing.
type lease struct {
	bus      *Bus
	subject  string
	owner    string
	sequence uint64
	// until is when the lease ends unless it is renewed, by this process's clock.
	until time.Time
}

// acquire takes the lease of a key, or returns errBusy.
func (b *Bus) acquire(ctx context.Context, stage events.Stage, key events.Key) (*lease, error) {
	l := &lease{bus: b, subject: events.LeaseSubject(stage, key), owner: b.owner}
	err := l.publish(ctx, 0)
	if !isConflict(err) {
		return l, err
	}
	held, err := b.lastMessage(ctx, events.StreamLeases, l.subject)
	if err != nil {
		return nil, err
	}
	switch {
	case held == nil: // it ended just now
		err = l.publish(ctx, 0)
	case string(held.Data) == l.owner: // left from an answer that got lost
		err = l.publish(ctx, held.Sequence)
	default:
		return nil, errBusy
	}
	if isConflict(err) {
		return nil, errBusy
	}
	return l, err
}

// publish takes the lease when sequence is the subject's last.
func (l *lease) publish(ctx context.Context, sequence uint64) error {
	ttl := l.bus.cfg.LeaseTTL
	from := time.Now()
	ack, err := l.bus.publish(ctx, &nats.Msg{Subject: l.subject, Data: []byte(l.owner)},
		jetstream.WithExpectLastSequencePerSubject(sequence), jetstream.WithMsgTTL(ttl))
	if err != nil {
		return fmt.Errorf("publish lease %s: %w", l.subject, err)
	}
	l.sequence, l.until = ack.Sequence, from.Add(ttl)
	return nil
}

// renew extends the lease. It returns ErrLeaseLost once somebody else may hold it;
// any other error leaves time to try again.
func (l *lease) renew(ctx context.Context) error {
	if l == nil {
		return nil
	}
	err := l.publish(ctx, l.sequence)
	if isConflict(err) {
		err = l.reclaim(ctx)
	}
	if err != nil && time.Now().After(l.until) {
		return fmt.Errorf("%w: %w", ErrLeaseLost, err)
	}
	return err
}

// reclaim takes a lease again that vanished, because its stream was wiped or a
// renewal came late, unless another worker was faster.
func (l *lease) reclaim(ctx context.Context) error {
	held, err := l.bus.lastMessage(ctx, events.StreamLeases, l.subject)
	if err != nil {
		return err
	}
	if held != nil && string(held.Data) != l.owner {
		return fmt.Errorf("%w: held by %s", ErrLeaseLost, held.Data)
	}
	err = l.publish(ctx, sequenceOf(held))
	if isConflict(err) {
		return fmt.Errorf("%w: %w", ErrLeaseLost, err)
	}
	return err
}

// release ends the lease. One that cannot be released ends by itself.
func (l *lease) release(ctx context.Context) error {
	if l == nil {
		return nil
	}
	if err := l.bus.remove(ctx, events.StreamLeases, l.sequence); err != nil {
		return fmt.Errorf("release lease %s: %w", l.subject, err)
	}
	return nil
}
