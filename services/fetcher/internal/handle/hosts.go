package handle

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/share"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// hosts bounds how many passes ask one host at once, so that a host that stalls leaves
// workers for the others, and how many begin in a second. Of both every namespace has a
// share. Who must wait comes again: nobody waits here.
type hosts struct {
	// places are those of one road: one namespace's way to a host, with the same Secrets.
	// A namespace has half as many more, and a host again.
	places int
	// every is how far apart passes begin, evenly spread; zero when that does not matter.
	every time.Duration

	mu     sync.Mutex
	byName map[string]*host
}

// host is one that is asked.
type host struct {
	// namespaces have places, and in each of them roads.
	namespaces *share.Line
	roads      map[string]*share.Line
	// even is when the next pass would begin if all had been evenly spread.
	even time.Time
	// turns are those of passes that wait, and last is the last one of each namespace.
	turns map[events.Key]time.Time
	last  map[string]time.Time
}

// visit is a pass that wants to ask a host.
type visit struct {
	host, road string
	key        events.Key
	// urgent ones wait for nothing, but count.
	urgent bool
}

const (
	// burst is how much of the time to come may be used at once, so that what comes
	// unevenly need not wait.
	burst = time.Second
	// forgotten are turns that nobody came for in that time.
	forgotten = time.Minute
)

// enter lets a pass begin, which calls done at its end, or says when it may come again: then
// done is nil.
func (h *hosts) enter(v visit, now time.Time) (done func(), wait time.Duration) {
	if v.host == "" {
		return func() {}, 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.byName[v.host]
	if at == nil {
		namespace := h.places + (h.places+1)/2
		at = &host{
			namespaces: share.New(namespace+(h.places+1)/2, namespace), roads: map[string]*share.Line{},
			turns: map[events.Key]time.Time{}, last: map[string]time.Time{},
		}
		if h.byName == nil {
			h.byName = map[string]*host{}
		}
		maps.DeleteFunc(h.byName, func(_ string, other *host) bool { return other.idle(now) })
		h.byName[v.host] = at
	}
	turn, waited := at.turns[v.key]
	if turn.After(now) && !v.urgent {
		return nil, turn.Sub(now)
	}
	if !v.urgent && !at.mayBegin(v.key.Namespace, waited, now) {
		return nil, at.book(v.key, h.every, now)
	}
	leave := at.take(h.places, v)
	if leave == nil && !v.urgent {
		return nil, max(at.book(v.key, h.every, now), later())
	}
	delete(at.turns, v.key)
	// However many urgent ones come, those whose turn has come may begin.
	if even := latest(at.even, now).Add(h.every); !v.urgent || even.Sub(now) <= burst {
		at.even = even
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if leave != nil {
			leave()
		}
		if h.byName[v.host] == at && at.idle(time.Now()) { // it may be another one by now
			delete(h.byName, v.host)
		}
	}, 0
}

// mayBegin says whether the host was not asked too much, and nobody of the namespace goes
// before. Whose turn has come is let in for longer than who did not wait.
func (h *host) mayBegin(namespace string, waited bool, now time.Time) bool {
	if waited {
		return h.even.Sub(now) <= 2*burst
	}
	return h.even.Sub(now) <= burst && !h.last[namespace].After(now)
}

// book gives a pass a turn, after those of its namespace that wait. Namespaces whose passes
// wait have turns equally often.
func (h *host) book(key events.Key, every time.Duration, now time.Time) (wait time.Duration) {
	maps.DeleteFunc(h.last, func(_ string, turn time.Time) bool { return !turn.After(now) })
	last, others := h.last[key.Namespace], len(h.last)
	if last.IsZero() {
		others++
	}
	turn := latest(now, h.even.Add(-burst), last).Add(every * time.Duration(others))
	h.last[key.Namespace], h.turns[key] = turn, turn
	return turn.Sub(now)
}

// take takes a place for a visit, and returns what gives it back; nil when none is left.
func (h *host) take(places int, v visit) (leave func()) {
	namespace := v.key.Namespace
	if !h.namespaces.Try(namespace) {
		return nil
	}
	roads := h.roads[namespace]
	if roads == nil {
		roads = share.New(places+(places+1)/2, places)
		h.roads[namespace] = roads
	}
	if !roads.Try(v.road) {
		h.namespaces.Leave(namespace)
		return nil
	}
	return func() {
		h.namespaces.Leave(namespace)
		if roads.Leave(v.road); roads.Held() == 0 {
			delete(h.roads, namespace)
		}
	}
}

// idle says that there is nothing to remember of the host. A turn that nobody came for is
// nothing: what waited for it is gone.
func (h *host) idle(now time.Time) bool {
	maps.DeleteFunc(h.turns, func(_ events.Key, turn time.Time) bool { return now.Sub(turn) > forgotten })
	return h.namespaces.Held() == 0 && len(h.turns) == 0 && !h.even.After(now)
}

func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// visits are the hosts that a pass asks while it is made: each counts once, until it ends.
type visits struct {
	hosts *hosts
	check bus.Check
	by    map[string]func()
}

// enter is what source.Asking wants.
func (v *visits) enter(host, road string) error {
	if host == "" || v.by[host] != nil {
		return nil
	}
	done, wait := v.hosts.enter(visit{host: host, road: road, key: v.check.Key, urgent: urgent(v.check.Note)}, time.Now())
	if done == nil {
		return &source.LaterError{Host: host, Wait: wait}
	}
	v.by[host] = done
	return nil
}

func (v *visits) end() {
	for _, done := range v.by {
		done()
	}
}

// Asking returns a context in which the pass of a check asks hosts, each of which counts once until done is
// called.
func (h *Handler) Asking(ctx context.Context, check bus.Check) (_ context.Context, done func()) {
	v := &visits{hosts: &h.hosts, check: check, by: map[string]func(){}}
	return source.Asking(ctx, v.enter), v.end
}

// urgent are checks that do not wait for a place: a push is news of the host itself.
func urgent(note bus.Note) bool {
	return note.Reason == bus.ReasonHook || note.Reason == bus.ReasonCorrupt
}

// later is when a pass without a place is tried again: soon, and not together with the
// others that wait.
func later() time.Duration {
	return 200*time.Millisecond + rand.N(400*time.Millisecond) //nolint:gosec // spreads load, guards nothing
}
