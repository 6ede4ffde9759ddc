package fleet

import (
	"context"
	"time"

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
	// shared are those that may be under way in all members.
	shared chan struct{}
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

// enter takes a slot of a cluster that answers. It returns cluster.ErrBusy when there is
// none, and cluster.ErrUnknown when it is not known yet whether the cluster answers.
func (m *member) enter(ctx context.Context, wait bool) (leave func(), err error) {
	select {
	case m.slots <- struct{}{}:
	default:
		return nil, cluster.ErrBusy
	}
	select {
	case m.shared <- struct{}{}:
	default:
		<-m.slots
		return nil, cluster.ErrBusy
	}
	leave = func() {
		<-m.shared
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

// room says whether a pass would find a slot now.
func (m *member) room() bool { return len(m.slots) < cap(m.slots) && len(m.shared) < cap(m.shared) }
