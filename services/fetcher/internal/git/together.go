package git

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// together lets those who ask for the references of the same repository with the same
// credentials at the same time share one request. Whoever asks gets references that were
// listed after it asked, so that the push that woke it is among them. It is safe for concurrent use.
type together struct {
	mu    sync.Mutex
	lines map[[sha256.Size]byte]*line
}

// line is who asks for the references of one repository.
type line struct {
	// current get what the listing under way brings; one of them makes it.
	current []*asker
	// next came after it had begun and wait for the one after it.
	next []*asker
}

// asker is told once, either that it is to make the listing or what another's brought.
type asker struct{ told chan listed }

type listed struct {
	lead bool
	refs *packp.AdvRefs
	err  error
}

// ask returns what list returns, called by this caller (own) or by another one. A listing that
// failed when its caller had given up is made again by another.
func (t *together) ask(ctx context.Context, key [sha256.Size]byte, list func() (*packp.AdvRefs, error)) (refs *packp.AdvRefs, own bool, err error) {
	me := &asker{told: make(chan listed, 1)}
	l := t.join(key, me)
	select {
	case result := <-me.told:
		if !result.lead {
			return result.refs, false, result.err
		}
	case <-ctx.Done():
		t.leave(key, l, me)
		return nil, false, context.Cause(ctx)
	}
	refs, err = list()
	t.mu.Lock()
	defer t.mu.Unlock()
	l.current = without(l.current, me)
	if err != nil && ctx.Err() != nil {
		t.handOn(key, l)
		return refs, true, err
	}
	for _, other := range l.current {
		other.told <- listed{refs: refs, err: err}
	}
	l.current = nil
	t.handOn(key, l)
	return refs, true, err
}

func (t *together) join(key [sha256.Size]byte, me *asker) *line {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, busy := t.lines[key]; busy {
		l.next = append(l.next, me)
		return l
	}
	l := &line{current: []*asker{me}}
	t.lines[key] = l
	me.told <- listed{lead: true}
	return l
}

// leave takes an asker out that waits no longer. If it was just told to lead, another does.
func (t *together) leave(key [sha256.Size]byte, l *line, me *asker) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.current, l.next = without(l.current, me), without(l.next, me)
	select {
	case result := <-me.told:
		if result.lead {
			t.handOn(key, l)
		}
	default:
	}
}

// handOn lets one of those who still wait for the current listing make it, or the next begin.
func (t *together) handOn(key [sha256.Size]byte, l *line) {
	if len(l.current) == 0 {
		l.current, l.next = l.next, nil
	}
	if len(l.current) == 0 {
		delete(t.lines, key)
		return
	}
	l.current[0].told <- listed{lead: true}
}

func without(all []*asker, one *asker) []*asker {
	return slices.DeleteFunc(all, func(a *asker) bool { return a == one })
}
