package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/kubeconfig"
)

// failureCounts is how long objects that come back are told of a failure to locate their
// cluster, before the cloud is asked again. It is longer than they stay away.
const failureCounts = 5 * time.Second

// search is a cloud being asked where a cluster is.
type search struct {
	done  chan struct{} // closed at the end, before which the rest is not to be read
	found kubeconfig.Connection
	err   error
	until time.Time // how long a failure counts
}

// over says that the search has failed, and long ago.
func (s *search) over(now time.Time) bool {
	select {
	case <-s.done:
		return now.After(s.until)
	default:
		return false
	}
}

// locate asks a cloud where a cluster is, in the background, as members are probed: one that
// does not answer is to hold no worker. Only the pass that began a search waits for it, as
// long as for a new member; the others are told to come back.
func (f *Fleet) locate(ctx context.Context, c kubeconfig.Connection) (kubeconfig.Connection, error) {
	s, first, err := f.search(c)
	if err != nil {
		return kubeconfig.Connection{}, err
	}
	if first {
		t := time.NewTimer(firstMeeting)
		defer t.Stop()
		select {
		case <-s.done:
		case <-t.C:
		case <-ctx.Done():
			return kubeconfig.Connection{}, ctx.Err()
		}
	}
	select {
	case <-s.done:
		if s.err != nil {
			return kubeconfig.Connection{}, c.Unlocated(s.err) // the search may be another namespace's
		}
		return s.found, nil
	default:
		return kubeconfig.Connection{}, cluster.ErrBusy
	}
}

// search returns the one that is under way for a connection, or has failed a moment ago, and
// begins one when there is none. Found clusters are not kept here: who is let in, and until
// when, the connection knows.
func (f *Fleet) search(c kubeconfig.Connection) (s *search, first bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s = f.searches[c.Key]; s != nil && !s.over(f.now()) {
		return s, false, nil
	}
	if f.start == nil {
		return nil, false, errors.New("locate cluster: the applier stops")
	}
	s = &search{done: make(chan struct{})}
	f.searches[c.Key] = s
	f.start(func(ctx context.Context) {
		s.found, s.err = c.Locate(ctx)
		f.mu.Lock()
		if s.until = f.now().Add(failureCounts); s.err == nil {
			delete(f.searches, c.Key)
		}
		f.mu.Unlock()
		close(s.done)
	})
	return s, true, nil
}
