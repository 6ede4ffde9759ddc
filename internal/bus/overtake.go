package bus

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sluice-gitops/sluice/events"
)

// A check overtakes its lane when NATS's copy of it arrives while the lane is long
// with checks of another namespace (ADR 12). The check itself stays in its lane until
// it is done, so a copy that is lost costs its place and no more.

const (
	// longLane is from how many messages behind the current one a lane is overtaken:
	// fewer than this cost no more than what the other lanes put in between.
	longLane = events.Lanes
	// overtakers and overtakersEach bound the copies kept for a lane, and for one
	// namespace of it: what a push of a tenant brings, not what a large one queues.
	overtakers     = 1024
	overtakersEach = 64
)

// queue is what may overtake one lane.
type queue struct {
	mu sync.Mutex
	// passed is the highest sequence that the lane delivered here. Sequences never begin
	// anew: those of a stream that replaces a wiped one begin at the time of its making.
	passed uint64
	// checks are in the order in which they are to be served.
	checks []overtaker
	heard  chan struct{}
}

// overtaker is a check with the namespace it is of.
type overtaker struct {
	*delivery
	of string
}

// listen keeps the copies of checks until unsubscribe is called.
func (w *work) listen() (unsubscribe func(), err error) {
	// One replica gets each copy.
	sub, err := w.bus.nc.QueueSubscribe(events.WaitingFilter(w.stage), "overtake", w.hear)
	if err != nil {
		return nil, fmt.Errorf("subscribe to waiting checks of %s: %w", w.stage, err)
	}
	return func() {
		if err := sub.Unsubscribe(); err != nil {
			w.bus.log.Debug("unsubscribe", "subject", sub.Subject, "error", err)
		}
	}, nil
}

func (w *work) hear(m *nats.Msg) {
	subject := m.Header.Get(jetstream.SubjectHeader)
	stage, key, err := events.ParseCheckSubject(subject)
	sequence, serr := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil || serr != nil || stage != w.stage {
		return // its lane delivers it, and says what is wrong with it
	}
	waiting := &w.waiting[key.Lane()]
	d := &delivery{subject: subject, header: m.Header, data: m.Data, sequence: sequence, deliveries: 1, sent: time.Now()}
	d.remove = func() error {
		return w.bus.remove(context.Background(), events.CheckStream(w.stage), sequence)
	}
	d.again = func(delay time.Duration) {
		time.AfterFunc(delay, func() { waiting.put(overtaker{delivery: d, of: key.Namespace}) })
	}
	waiting.put(overtaker{delivery: d, of: key.Namespace})
}

// put keeps a check. It takes the place of an older one of its key.
func (q *queue) put(o overtaker) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if o.sequence <= q.passed {
		return
	}
	each := 0
	for i, other := range q.checks {
		if other.subject == o.subject {
			if other.sequence < o.sequence {
				q.checks[i] = o
			}
			return
		}
		if other.of == o.of {
			each++
		}
	}
	if each >= overtakersEach || len(q.checks) >= overtakers {
		return
	}
	q.checks = append(q.checks, o)
	select {
	case q.heard <- struct{}{}:
	default: // nobody waits, or is told already
	}
}

// news returns a channel that gets a value after a check was kept.
func (q *queue) news() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.heard == nil {
		q.heard = make(chan struct{}, 1)
	}
	return q.heard
}

// pass forgets the checks that the lane delivered itself when it delivers m.
func (q *queue) pass(m *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.passed = max(q.passed, m.sequence)
	q.checks = slices.DeleteFunc(q.checks, func(o overtaker) bool { return o.sequence <= q.passed })
}

// next takes the first check of another namespace than the one that waits, for which
// there is a place. It returns nil when there is none.
func (q *queue) next(waiting string, place func(namespace string) bool) *delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.checks, func(o overtaker) bool { return o.of != waiting && place(o.of) })
	if i < 0 {
		return nil
	}
	chosen := q.checks[i]
	// Its namespace comes again after the others.
	var others, same []overtaker
	for _, o := range slices.Delete(q.checks, i, i+1) {
		if o.of == chosen.of {
			same = append(same, o)
			continue
		}
		others = append(others, o)
	}
	q.checks = append(others, same...)
	return chosen.delivery
}
