package handle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
)

// lingering remembers what was pruned and is still held by finalizers. It is only
// about what to tell: the deletion itself is settled, and a restart forgets it.
type lingering struct {
	mu  sync.Mutex
	all map[events.Key]leftover
}

type leftover struct {
	entries []inventory.Entry
	since   time.Time
}

func (l *lingering) add(key events.Key, entries []inventory.Entry) {
	if len(entries) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[events.Key]leftover{}
	}
	l.all[key] = leftover{entries: inventory.Merge(l.all[key].entries, entries), since: time.Now()}
}

// due returns what is to be looked at now, or after which time that is.
func (l *lingering) due(key events.Key) ([]inventory.Entry, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left, ok := l.all[key]
	if !ok {
		return nil, 0
	}
	return left.entries, max(time.Until(left.since.Add(report.LingerAfter)), 0)
}

func (l *lingering) take(key events.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, key)
}

// tellLingering names the pruned objects that do not go, once, and what holds them.
func (p *pass) tellLingering(ctx context.Context) {
	entries, wait := p.lingering.due(p.check.Key)
	if len(entries) == 0 || wait > 0 {
		return
	}
	p.lingering.take(p.check.Key)
	left, err := p.Target.Terminating(ctx, p.ks, entries)
	if err != nil {
		p.log.Warn("cannot see whether pruned objects are gone", "error", err.Error())
		return
	}
	if len(left) == 0 {
		return
	}
	p.Recorder.Tell(p.ks, report.Note{
		Reason: report.ReasonTerminating, Warning: true, Revision: p.ks.Status.LastAppliedRevision,
		Message: fmt.Sprintf("pruned objects are still terminating after %s: %s", report.LingerAfter, engine.Text(left)),
	})
}
