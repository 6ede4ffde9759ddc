package fleet

import (
	"context"
	"time"

	"github.com/sluice-gitops/sluice/internal/share"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/kubeconfig"
)

// member is a remote cluster as seen with one connection.
type member struct {
	key    kubeconfig.Key
	opened Opened
	reach  *reach
	// slots are the passes that may be under way at once.
	slots chan struct{}
	// shared are those that may be under way in all members, by namespace.
	shared *share.Line
	// left is called when a pass has left its slot.
	left func()
	stop context.CancelFunc

	// users say until when each object counts as using the member. The fleet's lock
	// guards them, and met: that a pass waits for the first probe, or did.
	users map[User]time.Time
	met   bool
}

// firstMeeting is how long one pass waits for the first answer of a cluster, so that
// one that answers is applied to at once. Other passes come back later.
const firstMeeting = time.Second

// enter takes a slot of a cluster that answers, for an object of a namespace. It returns cluster.ErrBusy when there is
// none for it, and cluster.ErrUnknown when it is not known yet whether the cluster answers.
func (m *member) enter(ctx context.Context, namespace string, wait bool) (leave func(), err error) {
	select {
	case m.slots <- struct{}{}:
	default:
		return nil, cluster.ErrBusy
	}
	if !m.shared.Try(namespace) {
		<-m.slots
		return nil, cluster.ErrBusy
	}
	leave = func() {
		m.shared.Leave(namespace)
		<-m.slots
		m.left()
	}
	if wait {
		t := time.NewTimer(firstMeeting)
		defer t.Stop()
		select {
		case <-m.reach.settled:
		case <-t.C:
		case <-ctx.Done():
		}
	}
	known, err := m.reach.state()
	if !known && err == nil {
		err = cluster.ErrUnknown
	}
	if err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// room says whether a pass over an object of a namespace would find a slot now.
func (m *member) room(namespace string) bool {
	if len(m.slots) == cap(m.slots) || !m.shared.Try(namespace) {
		return false
	}
	m.shared.Leave(namespace)
	return true
}
