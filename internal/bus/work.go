package bus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/share"
)

const (
	defaultWorkers  = 4
	defaultDeadline = 5 * time.Minute
	defaultGrace    = 3 * time.Second
	// handOver is how long a message waits here for a worker before it is offered
	// to other replicas.
	handOver = time.Second
	// laneAckPending bounds the messages of a lane that are out at once over all
	// replicas: in work, parked behind their key, or put back for a moment.
	laneAckPending = 1024
)

// Work takes checks of a stage until ctx ends, one at a time per key, and calls
// handle for each. Lanes are taken in turn. It survives restarts of NATS and wiped
// streams, and returns an error only for a configuration that cannot work. When
// ctx ends, running handlers get a moment to finish before their context ends.
func (b *Bus) Work(ctx context.Context, cfg WorkConfig, handle Handler) error {
	if err := b.serves(events.CheckStream(cfg.Stage)); err != nil {
		return err
	}
	workers := orElse(cfg.Workers, defaultWorkers)
	w := &work{
		bus: b, stage: cfg.Stage, handle: handle, alone: cfg.Alone,
		deadline: orElse(cfg.Deadline, defaultDeadline),
		line:     share.New(workers+(workers+1)/2, workers),
		busy:     map[events.Key]*place{},
		failures: map[events.Key]int{},
	}
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	// A message is started by its lane, so none is once the lanes have ended.
	w.start = func(m *delivery) {
		w.workers.Go(func() {
			defer w.line.Leave(m.namespace())
			w.run(running, m)
		})
	}
	unsubscribe, err := w.listen()
	if err != nil {
		return err
	}
	var lanes sync.WaitGroup
	for lane := range events.Lanes {
		lanes.Go(func() {
			b.consume(ctx, events.CheckStream(cfg.Stage), w.consumer(lane), 1, func(m *delivery) { w.turn(ctx, &w.waiting[lane], m) })
		})
	}
	lanes.Wait()
	unsubscribe()
	grace := time.AfterFunc(orElse(cfg.Grace, defaultGrace), end)
	defer grace.Stop()
	w.drain()
	w.workers.Wait()
	// What was acknowledged last shall arrive before the process ends.
	if err := b.nc.FlushTimeout(b.cfg.Timeout); err != nil {
		b.log.Debug("flush acknowledgements", "error", err)
	}
	return nil
}

// serves reports an error unless the bus looks after the stream.
func (b *Bus) serves(stream string) error {
	for _, def := range b.guard.streams {
		if def.Name == stream {
			return nil
		}
	}
	return fmt.Errorf("consume stream %s: service %q does not use it", stream, b.cfg.Name)
}

// work is one call of Work.
type work struct {
	bus      *Bus
	stage    events.Stage
	handle   Handler
	alone    bool
	deadline time.Duration
	// line has a place for every worker. One message per lane waits there.
	line *share.Line
	// start hands a message for which there is a place to a worker.
	start   func(m *delivery)
	workers sync.WaitGroup
	// waiting holds for each lane what may overtake it.
	waiting [events.Lanes]queue

	mu       sync.Mutex
	draining bool
	busy     map[events.Key]*place
	// failures counts those of a key in a row.
	failures map[events.Key]int

	said     Said
	returned returned
}

// place is a key that is being worked on here.
type place struct {
	current *delivery
	// next is the check to handle afterwards, nil when there is none.
	next *delivery
}

func (w *work) consumer(lane int) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       fmt.Sprintf("%s-%d", w.stage, lane),
		Description:   "Checks of one lane; every replica takes from it.",
		FilterSubject: events.CheckFilter(w.stage, lane),
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       w.bus.cfg.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: laneAckPending,
		MaxWaiting:    512,
	}
}

// turn hands a lane's message to a worker, after one that overtakes it. While its
// namespace has all the workers that it may have, those of others overtake it even
// where the lane is short.
func (w *work) turn(ctx context.Context, waiting *queue, m *delivery) {
	waiting.pass(m)
	m.returned = w.returned.put
	if m.behind >= longLane {
		if other := waiting.next(m.namespace(), func(string) bool { return true }); other != nil {
			w.offer(ctx, other, nil, func() {})
		}
	}
	w.offer(ctx, m, waiting.news(), func() {
		for {
			other := waiting.next(m.namespace(), w.line.Try)
			if other == nil {
				return
			}
			w.start(other)
		}
	})
}

// offer hands a message to the next free worker, or back to NATS when all stay busy.
// While there is none it calls meanwhile, and again at news.
func (w *work) offer(ctx context.Context, m *delivery, news <-chan struct{}, meanwhile func()) {
	place := w.line.Join(m.namespace())
	t := time.NewTimer(handOver)
	defer t.Stop()
	for {
		select {
		case <-place.Granted():
			w.start(m)
			return
		default:
			meanwhile()
		}
		select {
		case <-place.Granted():
			continue
		case <-news:
			continue
		case <-t.C:
		case <-ctx.Done():
		}
		if w.line.Withdraw(place) {
			m.nak()
			return
		}
	}
}

// run handles a message and those that were parked behind it meanwhile.
func (w *work) run(ctx context.Context, m *delivery) {
	_, key, err := events.ParseCheckSubject(m.subject)
	if err != nil {
		w.discard(ctx, m, err)
		return
	}
	if !w.enter(key, m) {
		return
	}
	for m != nil {
		done := w.one(ctx, key, m)
		m = w.leave(key, done)
	}
}

// enter reserves the key, or parks the message behind who works on it.
func (w *work) enter(key events.Key, m *delivery) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, busy := w.busy[key]
	switch {
	case !busy:
		w.busy[key] = &place{current: m}
		return true
	case w.draining:
		m.nak()
	case p.next == nil || p.next.sequence <= m.sequence:
		// The parked one is superseded: the stream keeps one check per key.
		p.next = m
	}
	return false
}

// leave returns the message parked behind the key, or frees the key. A parked
// copy of the message that was done just now is done too.
func (w *work) leave(key events.Key, done bool) *delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.busy[key]
	next := p.next
	if next != nil && done && next.sequence == p.current.sequence {
		next = nil
	}
	if next != nil && w.draining {
		next.nak()
		next = nil
	}
	if next == nil {
		delete(w.busy, key)
		return nil
	}
	p.current, p.next = next, nil
	return next
}

// parked returns the message parked behind the key, nil when there is none.
func (w *work) parked(key events.Key) *delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.busy[key].next
}

// drain returns what is parked, so that other replicas take it.
func (w *work) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
	for _, p := range w.busy {
		if p.next != nil {
			p.next.nak()
			p.next = nil
		}
	}
}
