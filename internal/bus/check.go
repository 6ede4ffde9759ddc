package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
)

const (
	// headerAttempt carries how often a key's check failed in a row.
	headerAttempt = "Sluice-Attempt"
	// shortestTimer is the shortest wait that is left to the server, whose timers
	// are up to a quarter of a second late.
	shortestTimer = 500 * time.Millisecond
	// fewTargets are what a quiet tenant's push leads to, or a part of it.
	fewTargets = 16
	// checkBatch is how many checks are on their way at once.
	checkBatch = 512
)

// Check asks the targets' stages to look at their keys again. A newer check of a
// key replaces an older one that waits, and follows one that is being worked on.
// Targets that come later are set after the others are queued.
func (b *Bus) Check(ctx context.Context, targets ...Target) error {
	var now, later []Target
	if len(targets) <= fewTargets {
		for _, t := range targets {
			b.precedence.Expect(t.Key.Namespace)
		}
	}
	for _, t := range targets {
		if t.After > 0 {
			later = append(later, t)
			continue
		}
		now = append(now, t)
	}
	for len(now) > 0 {
		n := min(len(now), checkBatch)
		if err := b.checkBatch(ctx, now[:n]); err != nil {
			return err
		}
		now = now[n:]
	}
	for _, t := range later {
		if err := b.Wake(ctx, t.Stage, t.Key, time.Now().Add(t.After), t.Note); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bus) checkBatch(ctx context.Context, targets []Target) error {
	if len(targets) == 1 {
		return b.checkOne(ctx, targets[0])
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	acks := make([]jetstream.PubAckFuture, len(targets))
	for i, t := range targets {
		msg, err := checkMessage(ctx, events.CheckSubject(t.Stage, t.Key), t.Note)
		if err != nil {
			return err
		}
		if acks[i], err = b.js.PublishMsgAsync(msg); err != nil {
			return fmt.Errorf("queue check of %s: %w", t.Key, err)
		}
	}
	for i, ack := range acks {
		select {
		case <-ctx.Done():
			return fmt.Errorf("queue check of %s: %w", targets[i].Key, ctx.Err())
		case <-ack.Ok():
		case <-ack.Err(): //nolint:errcheck // whatever it was, it is tried
			// Once more on its own, which also brings a missing stream back.
			if err := b.checkOne(ctx, targets[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Bus) checkOne(ctx context.Context, t Target) error {
	msg, err := checkMessage(ctx, events.CheckSubject(t.Stage, t.Key), t.Note)
	if err != nil {
		return err
	}
	if _, err := b.publish(ctx, msg); err != nil {
		return fmt.Errorf("queue check of %s: %w", t.Key, err)
	}
	return nil
}

// Wake checks a key at a time, or at once when that time is past. It replaces the
// key's timer. The check comes up to a quarter of a second late, and not within
// half a second from now.
func (b *Bus) Wake(ctx context.Context, stage events.Stage, key events.Key, at time.Time, note Note) error {
	if !at.After(time.Now()) {
		return b.checkOne(ctx, Target{Stage: stage, Key: key, Note: note})
	}
	return b.schedule(ctx, events.TimerSubject(stage, key), stage, key, at, note, 0)
}

func (b *Bus) schedule(ctx context.Context, subject string, stage events.Stage, key events.Key, at time.Time, note Note, attempt int) error {
	if soonest := time.Now().Add(shortestTimer); at.Before(soonest) {
		at = soonest
	}
	msg, err := checkMessage(ctx, subject, note)
	if err != nil {
		return err
	}
	// The client's own option for this rounds to whole seconds.
	msg.Header.Set(jetstream.ScheduleHeader, "@at "+at.UTC().Format(time.RFC3339Nano))
	msg.Header.Set(jetstream.ScheduleTargetHeader, events.CheckSubject(stage, key))
	if attempt > 0 {
		msg.Header.Set(headerAttempt, strconv.Itoa(attempt))
	}
	if _, err := b.publish(ctx, msg); err != nil {
		return fmt.Errorf("set timer of %s: %w", key, err)
	}
	return nil
}

// StopTimer removes a key's timer.
func (b *Bus) StopTimer(ctx context.Context, stage events.Stage, key events.Key) error {
	return b.purge(ctx, stage, events.TimerSubject(stage, key))
}

// Forget removes the timers of a key that is gone. A check that waits stays: it
// may be about an object made anew under the same name.
func (b *Bus) Forget(ctx context.Context, stage events.Stage, key events.Key) error {
	return b.purge(ctx, stage, events.TimerSubject(stage, key), events.RetrySubject(stage, key))
}

func (b *Bus) purge(ctx context.Context, stage events.Stage, subjects ...string) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	stream, err := b.handle(ctx, events.CheckStream(stage))
	if err != nil {
		return err
	}
	for _, subject := range subjects {
		err := stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil // gone with everything in it
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", subject, err)
		}
	}
	return nil
}

func checkMessage(ctx context.Context, subject string, note Note) (*nats.Msg, error) {
	data, err := json.Marshal(note)
	if err != nil {
		return nil, fmt.Errorf("encode note of %s: %w", subject, err)
	}
	msg := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: data}
	injectHeader(ctx, msg.Header)
	return msg, nil
}
