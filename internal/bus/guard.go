package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
)

// guard knows the streams of this process as they were last seen, creates them
// again when they are gone, and tells who needs to know.
type guard struct {
	bus     *Bus
	streams []jetstream.StreamConfig
	handles sync.Map // stream name to jetstream.Stream
	pokes   chan struct{}

	verifying sync.Mutex
	// wiped is given after streams were created again.
	wiped signal

	mu   sync.Mutex
	seen map[string]identity
	// lost are the streams that were wiped and that nobody was told of yet.
	lost      []string
	callbacks []func()
}

// identity tells a stream from one of the same name that replaced it, and from
// itself after a purge.
type identity struct {
	created time.Time
	marker  uint64
	msgs    uint64
	// first and last are sequences of what is there.
	first, last uint64
}

func newGuard(b *Bus) (*guard, error) {
	names, err := streamsOf(b.cfg.Name)
	if err != nil {
		return nil, err
	}
	defs, err := definitionsOf(names)
	if err != nil {
		return nil, err
	}
	return &guard{
		bus: b, streams: defs,
		pokes: make(chan struct{}, 1), seen: map[string]identity{},
	}, nil
}

// first verifies the streams until it succeeds once or ctx ends.
func (g *guard) first(ctx context.Context) error {
	wait := 50 * time.Millisecond
	for {
		err := g.verify(ctx)
		if err == nil {
			return nil
		}
		g.bus.log.Info("waiting for NATS", "error", err)
		if !pause(ctx, wait) {
			return fmt.Errorf("wait for NATS: %w", err)
		}
		wait = min(2*wait, 2*time.Second)
	}
}

// watch verifies the streams now and then, and whenever somebody asks.
func (g *guard) watch(ctx context.Context) {
	tick := time.NewTicker(g.bus.cfg.VerifyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-g.pokes:
		}
		if err := g.verify(ctx); err != nil && ctx.Err() == nil {
			g.bus.log.Warn("cannot verify the streams, trying again", "error", err)
		}
	}
}

// poke asks for a verification soon.
func (g *guard) poke() {
	select {
	case g.pokes <- struct{}{}:
	default: // one is due already
	}
}

// verify creates what is missing and notices what was replaced or emptied. It is told once
// the streams that are needed to mend it are there, in a later round if not in this one.
func (g *guard) verify(ctx context.Context) error {
	g.verifying.Lock()
	defer g.verifying.Unlock()
	ctx, cancel := context.WithTimeout(ctx, g.bus.cfg.Timeout+time.Duration(len(g.streams))*deletion)
	defer cancel()
	var errs []error
	ready := true
	for _, def := range g.streams {
		now, err := g.look(ctx, def)
		if err != nil {
			errs = append(errs, err)
			ready = ready && beside(def.Name)
			continue
		}
		g.note(def, now)
	}
	if lost := g.takeLost(ready); len(lost) > 0 {
		g.bus.log.Warn("streams were wiped, every key is checked again", "streams", lost)
		g.recovered()
	}
	return errors.Join(errs...)
}

// takeLost returns what was wiped, and takes it for told, if that can be mended now.
func (g *guard) takeLost(ready bool) []string {
	if !ready {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	lost := g.lost
	g.lost = nil
	return lost
}

// beside says that services do not rely on what a stream holds: leases, dead letters and the
// audit log.
func beside(stream string) bool {
	return stream == events.StreamLeases || stream == events.StreamDead || stream == events.StreamAudit
}

// deletion is how long the server gets to remove the files of a stream that it
// has stopped to list. It would remove those of a stream of the same name that is
// created in between, which then takes no message any more.
const deletion = 500 * time.Millisecond

// await leaves a deletion under way the time to end.
func (g *guard) await(ctx context.Context, name string) {
	g.mu.Lock()
	_, known := g.seen[name]
	g.mu.Unlock()
	if !known {
		return
	}
	if _, err := g.bus.js.Stream(ctx, name); errors.Is(err, jetstream.ErrStreamNotFound) {
		pause(ctx, deletion)
	}
}

func (g *guard) look(ctx context.Context, def jetstream.StreamConfig) (identity, error) {
	g.await(ctx, def.Name)
	info, err := g.bus.ensureStream(ctx, def)
	if err != nil {
		return identity{}, err
	}
	id := identity{created: info.Created, msgs: info.State.Msgs, first: info.State.FirstSeq, last: info.State.LastSeq}
	for _, stage := range events.Stages() {
		if def.Name != events.CheckStream(stage) {
			continue
		}
		if id.marker, err = g.bus.mark(ctx, stage); err != nil {
			return identity{}, err
		}
	}
	return id, nil
}

// note remembers what a stream is now, and that it lost what services rely on.
func (g *guard) note(def jetstream.StreamConfig, now identity) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before, known := g.seen[def.Name]
	g.seen[def.Name] = now
	if known && !beside(def.Name) && wiped(def.Name, before, now) {
		g.lost = append(g.lost, def.Name)
	}
}

func wiped(stream string, before, now identity) bool {
	if stream != events.StreamEvents {
		return !now.created.Equal(before.created) || now.marker != before.marker
	}
	// A stream with limits per subject only grows, unless somebody empties it. One that
	// was filled again meanwhile has nothing of what was there.
	emptied := before.msgs > 0 && now.first > before.last
	return !now.created.Equal(before.created) || now.msgs < before.msgs || emptied
}

func (g *guard) recovered() {
	g.mu.Lock()
	callbacks := append([]func(){}, g.callbacks...)
	g.mu.Unlock()
	g.wiped.give()
	g.bus.metrics.recovered.Inc()
	for _, call := range callbacks {
		call()
	}
}

// OnRecovered registers a function that is called after streams were wiped and
// created again: check every key and set its timer. It must not block.
func (b *Bus) OnRecovered(call func()) {
	b.guard.mu.Lock()
	defer b.guard.mu.Unlock()
	b.guard.callbacks = append(b.guard.callbacks, call)
}

// Recovered returns a channel that gets a value after streams were wiped and
// created again. Values that nobody took are joined to one. Call it once per
// subscriber, for the channel lives as long as the bus.
func (b *Bus) Recovered() <-chan struct{} {
	c := make(chan struct{}, 1)
	b.OnRecovered(func() {
		select {
		case c <- struct{}{}:
		default: // the subscriber is told already
		}
	})
	return c
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
