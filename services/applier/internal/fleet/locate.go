package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/kubeconfig"
)

const (
	// lookups is how many clouds are asked at once where a cluster is, and lookupsEach how
	// many of them for one namespace.
	lookups     = 64
	lookupsEach = 32
	// answerCounts is how long the answer counts for the objects that were told of it.
	answerCounts = 10 * time.Second
)

// search is a cloud being asked where a cluster is.
type search struct {
	// waiting are the objects that are to be told of the answer.
	waiting map[User]bool
	found   kubeconfig.Connection
	err     error
	until   time.Time // how long the answer counts; zero while there is none
}

// over says that there was an answer, long ago.
func (s *search) over(now time.Time) bool { return !s.until.IsZero() && now.After(s.until) }

// locate returns where a cluster is. A cloud that has to be asked is asked in the background,
// once for all who want to know the same, so that it holds no worker: the error is
// cluster.ErrUnknown then, and the answer brings a check.
func (f *Fleet) locate(user User, c kubeconfig.Connection) (kubeconfig.Connection, error) {
	if found, ok := c.Located(); ok {
		return found, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.searches[c.Key]
	if s == nil || s.over(f.now()) {
		if f.start == nil {
			return kubeconfig.Connection{}, errors.New("locate cluster: the applier stops")
		}
		s = &search{waiting: map[User]bool{}}
		f.searches[c.Key] = s
		f.start(func(ctx context.Context) { f.search(ctx, s, user.Namespace, c) })
	}
	switch {
	case s.until.IsZero():
		s.waiting[user] = true
		return kubeconfig.Connection{}, cluster.ErrUnknown
	case s.err != nil:
		return kubeconfig.Connection{}, c.Unlocated(s.err) // the search may be another namespace's
	}
	return s.found, nil
}

// search asks a cloud when it is the namespace's turn, and tells who waits for the answer.
func (f *Fleet) search(ctx context.Context, s *search, namespace string, c kubeconfig.Connection) {
	if f.lookups.Enter(ctx, namespace) != nil {
		return // the applier stops
	}
	found, err := c.Locate(ctx)
	f.lookups.Leave(namespace)
	f.mu.Lock()
	s.found, s.err, s.until = found, err, f.now().Add(answerCounts)
	waiting := s.waiting
	s.waiting = nil
	f.mu.Unlock()
	for user := range waiting {
		f.opts.Check(user)
	}
}
