package livestate

import (
	"context"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// outbox gathers notices by owner and due time. The table's lock guards it.
type outbox struct {
	notices map[cluster.Owner]map[topic]pending
	touched map[cluster.Owner]time.Time
	wake    chan struct{}
	// next is when somebody looks again at what is due; zero when only a wake makes one.
	next time.Time
}

// topic is what notices are merged by: a change that waits to be told must not hide that the object went to
// another owner, nor a takeover that it came back.
type topic struct {
	object
	conflict bool
}

type pending struct {
	notice Notice
	due    time.Time
}

func newOutbox() outbox {
	return outbox{
		notices: map[cluster.Owner]map[topic]pending{},
		touched: map[cluster.Owner]time.Time{},
		wake:    make(chan struct{}, 1),
	}
}

// add queues a notice. One notice is kept for each topic: of a known change and a
// doubt the change, else the first, at the earlier time.
func (o *outbox) add(owner cluster.Owner, n Notice, due time.Time) {
	byTopic := o.notices[owner]
	if byTopic == nil {
		byTopic = map[topic]pending{}
		o.notices[owner] = byTopic
	}
	key := topic{objectOf(n.Object), n.Why == Conflict}
	if old, ok := byTopic[key]; ok {
		if old.notice.Why != Verify || n.Why == Verify {
			n = old.notice
		}
		if old.due.Before(due) {
			due = old.due
		}
	}
	byTopic[key] = pending{notice: n, due: due}
	o.signal(due)
}

func (o *outbox) touch(owner cluster.Owner, due time.Time) {
	if _, ok := o.touched[owner]; !ok {
		o.touched[owner] = due
		o.signal(due)
	}
}

func (o *outbox) drop(owner cluster.Owner) {
	delete(o.notices, owner)
	delete(o.touched, owner)
}

// signal wakes who delivers, unless it looks in time by itself: each look goes through all that waits.
func (o *outbox) signal(due time.Time) {
	if !o.next.IsZero() && !due.Before(o.next) {
		return
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// due takes what is to be delivered now and says when the next falls due.
func (o *outbox) due(now time.Time) (notices map[cluster.Owner][]Notice, touched []cluster.Owner, next time.Time) {
	later := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	notices = map[cluster.Owner][]Notice{}
	for owner, byTopic := range o.notices {
		for key, p := range byTopic {
			if p.due.After(now) {
				later(p.due)
				continue
			}
			notices[owner] = append(notices[owner], p.notice)
			delete(byTopic, key)
		}
		if len(byTopic) == 0 {
			delete(o.notices, owner)
		}
	}
	for owner, at := range o.touched {
		if at.After(now) {
			later(at)
			continue
		}
		touched = append(touched, owner)
		delete(o.touched, owner)
	}
	o.next = next
	return notices, touched, next
}

// deliver calls back until the context ends.
func (t *Table) deliver(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		t.mu.Lock()
		notices, touched, next := t.outbox.due(t.now())
		t.settle(notices)
		t.mu.Unlock()
		for owner, list := range notices {
			if len(list) > 0 && t.opts.OnDrift != nil && t.opts.OnDrift(owner, list) != nil {
				t.again(owner, list)
			}
		}
		for _, owner := range touched {
			if t.opts.OnChange != nil && t.opts.OnChange(owner) != nil {
				t.touchAgain(owner)
			}
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = max(next.Sub(t.now()), gather/4) // so that what falls due in a row is one look
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-t.outbox.wake:
		case <-timer.C:
		}
	}
}

// again queues notices that could not be told: the objects stay dirty, and nothing
// else would tell of them before the interval.
func (t *Table) again(owner cluster.Owner, notices []Notice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range notices {
		t.outbox.add(owner, n, t.now().Add(t.opts.Retry))
	}
}

func (t *Table) touchAgain(owner cluster.Owner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.awaiting.objects[owner] != nil {
		t.outbox.touch(owner, t.now().Add(t.opts.Retry))
	}
}

// settle drops notices about objects that were put right, or opted out, meanwhile.
func (t *Table) settle(notices map[cluster.Owner][]Notice) {
	for owner, list := range notices {
		kept := list[:0]
		for _, n := range list {
			_, rec := t.find(n.Object)
			if n.Why != Conflict && (rec == nil || rec.applied == nil || rec.applied.owner != owner || rec.state == Clean ||
				(rec.present && rec.seen.OptOut.Any(NoReconcile|Ignore))) {
				continue
			}
			kept = append(kept, n)
		}
		notices[owner] = kept
	}
}
