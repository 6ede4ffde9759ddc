package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pullExpiry and pullHeartbeat make an idle consumer cost next to nothing.
	pullExpiry    = 2 * time.Minute
	pullHeartbeat = 20 * time.Second
	// statusRoom is space for status messages beside a batch.
	statusRoom = 64
)

// errSilent says that NATS stopped answering a pull request.
var errSilent = errors.New("no heartbeat from NATS")

// consume calls take with one message after the other until ctx ends. It creates
// the consumer, and again when it or its stream is gone.
func (b *Bus) consume(ctx context.Context, stream string, cfg jetstream.ConsumerConfig, batch int, take func(*delivery)) {
	const firstWait = 50 * time.Millisecond
	wait := firstWait
	for ctx.Err() == nil {
		began := time.Now()
		err := b.consumeOnce(ctx, stream, cfg, batch, take)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > 5*time.Second {
			wait = firstWait
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

// consumeOnce takes messages until the consumer has to be opened again: nil when
// its stream was wiped or ctx ended, otherwise what is wrong with it.
func (b *Bus) consumeOnce(ctx context.Context, stream string, cfg jetstream.ConsumerConfig, batch int, take func(*delivery)) error {
	wiped := b.guard.wiped.wait()
	create, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	if _, err := b.js.CreateOrUpdateConsumer(create, stream, cfg); err != nil {
		return fmt.Errorf("open consumer %s of %s: %w", cfg.Durable, stream, err)
	}
	p, err := b.newPull(stream, cfg.Durable, batch)
	if err != nil {
		return err
	}
	defer p.close()
	for {
		d, err := p.next(ctx, wiped)
		if d == nil || err != nil {
			return err
		}
		take(d)
	}
}

// pull fetches a consumer's messages by long requests. It asks for messages only
// while somebody waits in next, so what it holds is what is being worked on. The
// client library's own iterator can miss a request when the answer to the one
// before is very fast, and then stands still until a heartbeat is missed.
type pull struct {
	bus      *Bus
	subject  string
	request  []byte
	inbox    string
	sub      *nats.Subscription
	messages chan *nats.Msg
	batch    int
	// open is how many messages of the current request are still to come.
	open int
}

func (b *Bus) newPull(stream, consumer string, batch int) (*pull, error) {
	request, err := json.Marshal(map[string]any{"batch": batch, "expires": pullExpiry, "idle_heartbeat": pullHeartbeat})
	if err != nil {
		return nil, fmt.Errorf("encode pull request: %w", err)
	}
	p := &pull{
		bus: b, request: request, batch: batch,
		subject:  "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer,
		inbox:    b.nc.NewInbox(),
		messages: make(chan *nats.Msg, batch+statusRoom),
	}
	if p.sub, err = b.nc.ChanSubscribe(p.inbox, p.messages); err != nil {
		return nil, fmt.Errorf("subscribe for messages of %s: %w", stream, err)
	}
	return p, nil
}

// next returns the next message, or nil when ctx or wiped ended.
func (p *pull) next(ctx context.Context, wiped <-chan struct{}) (*delivery, error) {
	silence := time.NewTimer(2 * pullHeartbeat)
	defer silence.Stop()
	for {
		reconnected := p.bus.reconnected.wait()
		if p.open <= 0 {
			if err := p.bus.nc.PublishRequest(p.subject, p.inbox, p.request); err != nil {
				return nil, fmt.Errorf("ask for messages: %w", err)
			}
			p.open = p.batch
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-wiped:
			return nil, nil
		case <-reconnected:
			p.open = 0 // the request was lost with the connection
		case <-silence.C:
			return nil, errSilent
		case m := <-p.messages:
			d, err := p.receive(m)
			if d != nil || err != nil {
				return d, err
			}
		}
		silence.Reset(2 * pullHeartbeat)
	}
}

// receive returns the message, or nothing for a status that only concerns the request.
func (p *pull) receive(m *nats.Msg) (*delivery, error) {
	status := m.Header.Get("Status")
	if status == "" || len(m.Data) > 0 {
		p.open--
		return newDelivery(p.bus.nc, m)
	}
	switch status {
	case "100": // heartbeat
		return nil, nil
	case "404", "408": // the request ended
		p.open = 0
		return nil, nil
	}
	return nil, fmt.Errorf("NATS ended the request: %s %s", status, m.Header.Get("Description"))
}

// close ends the subscription and returns what was fetched ahead.
func (p *pull) close() {
	if err := p.sub.Unsubscribe(); err != nil {
		p.bus.log.Debug("unsubscribe", "subject", p.inbox, "error", err)
	}
	for {
		select {
		case m, ok := <-p.messages:
			if !ok {
				return
			}
			if d, err := p.receive(m); err == nil && d != nil {
				d.nak()
			}
		default:
			return
		}
	}
}
