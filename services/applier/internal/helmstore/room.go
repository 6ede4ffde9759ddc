package helmstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-gitops/sluice/internal/share"
)

// ErrNoRoom says that the histories which others have read leave no room for a large one now.
var ErrNoRoom = errors.New("the histories of releases that are read leave no room for it")

// smallHistory is what a history weighs that needs no room, as nearly all do: the workers bound those. A large one has room
// with a revision beside it that is read on its own. Three of the largest are read at once, one of a namespace, and a worker
// waits for roomWait.
const (
	smallHistory = 8 << 20
	maxHistory   = maxUnpacked + maxUnpacked/2
	roomWait     = 2 * time.Second
)

// NewRoom returns the room of all large histories of a process.
func NewRoom() *share.Room { return share.NewRoom(3*maxUnpacked, maxHistory) }

// Close gives back the room of what was read, which is not used any more.
func (s *Store) Close() {
	if s.held > 0 {
		s.Room.Leave(s.owner.Namespace, s.held)
		s.held = 0
	}
}

// within has read something of at most limit bytes, of which it leaves in left what it does not need: first as something
// small and, when it says with errRoom that it is not, for good, once there is room for it.
func (s *Store) within(ctx context.Context, limit int, read func(left *int, small bool) error) error {
	left := smallHistory
	if err := read(&left, true); !errors.Is(err, errRoom) {
		return err
	}
	if s.Room != nil {
		bounded, cancel := context.WithTimeoutCause(ctx, roomWait, ErrNoRoom)
		defer cancel()
		if err := s.Room.Enter(bounded, s.owner.Namespace, limit); err != nil {
			return fmt.Errorf("read releases in namespace %s: %w", s.namespace, err)
		}
	}
	left = limit
	err := read(&left, false)
	if err != nil {
		left = limit
	}
	if s.Room != nil {
		s.Room.Leave(s.owner.Namespace, left)
		s.held += limit - left
	}
	return err
}
