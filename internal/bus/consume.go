package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pullExpiry and pullHeartbeat make an idle consumer cost next to nothing.
	pullExpiry    = 2 * time.Minute
	pullHeartbeat = 20 * time.Second
)

// consume calls take with one message after the other until ctx ends. It creates
// the consumer, and again when it or its stream is gone.
func (b *Bus) consume(ctx context.Context, stream string, cfg jetstream.ConsumerConfig, prefetch int, take func(jetstream.Msg)) {
	wait := 50 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		err := b.consumeOnce(ctx, stream, cfg, prefetch, take)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > 5*time.Second {
			wait = 50 * time.Millisecond
		}
		if verr := b.guard.verify(ctx); verr != nil {
			err = errors.Join(err, verr)
		}
		if err != nil {
			b.log.Info("opening the consumer again", "stream", stream, "consumer", cfg.Durable, "error", err)
			pause(ctx, wait)
			wait = min(2*wait, 2*time.Second)
		}
	}
}

func (b *Bus) consumeOnce(ctx context.Context, stream string, cfg jetstream.ConsumerConfig, prefetch int, take func(jetstream.Msg)) error {
	changed := b.guard.generation()
	create, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	consumer, err := b.js.CreateOrUpdateConsumer(create, stream, cfg)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(prefetch),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return err
	}
	defer giveBack(messages)
	until, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-changed:
			stop()
		case <-until.Done():
		}
	}()
	for {
		msg, err := messages.Next(jetstream.NextContext(until))
		if until.Err() != nil {
			if err == nil {
				nakNow(msg)
			}
			return nil
		}
		if err != nil {
			return err
		}
		take(msg)
	}
}

// giveBack ends the iterator and returns what it had fetched ahead.
func giveBack(messages jetstream.MessagesContext) {
	messages.Drain()
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(100 * time.Millisecond))
		if err != nil {
			messages.Stop()
			return
		}
		nakNow(msg)
	}
}

// nakNow returns a message. When that fails NATS does it after the ack wait.
func nakNow(m jetstream.Msg) { _ = m.Nak() }

// sequence returns a message's sequence in its stream, 0 when its reply subject
// does not say.
func sequence(m jetstream.Msg) uint64 {
	if meta, err := m.Metadata(); err == nil {
		return meta.Sequence.Stream
	}
	return 0
}
