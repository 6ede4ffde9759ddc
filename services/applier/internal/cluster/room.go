package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gitops/sluice/internal/share"
)

// How many large answers there are at once, and how much is kept of them.
const (
	// small is what counts of an answer that needs no place; nearly all are such.
	small = 256 << 10
	// largeAnswers have a place each, of maxAnswer at most, and those of one API server so many of them.
	largeAnswers, largeEach = 12, 4
	// patience is for how long an event of a watch may hold a place. The configuration's timeout bounds requests.
	patience = 10 * time.Second
	// eventPace is how many events of a cluster's watches are read in a second, and eventBurst how many at once.
	eventPace, eventBurst = 1000, 10_000
	// maxKept bounds, in bytes, what is kept of all clusters for longer than a request.
	maxKept = 1 << 30
)

// Room is where large answers of API servers are read and decoded, so that they are few at once, however many
// requests there are, and where there is a bound to what is kept of them. It is safe for concurrent use.
type Room struct {
	line *share.Line

	mu   sync.Mutex
	free int64
	held map[string]int64 // by tenant
}

// NewRoom returns a room for the clusters that it is given to.
func NewRoom() *Room {
	return &Room{line: share.New(largeAnswers, largeEach), free: maxKept, held: map[string]int64{}}
}

// allowance is how much of an answer may be read, and the place that it has when it is large.
type allowance struct {
	limit int64
	// used is what counts of what was read so far, and read its bytes.
	used, read atomic.Int64

	room   *Room
	server string
	// late is called when the place was held for too long; nil when that is bounded otherwise.
	late func()

	mu    sync.Mutex
	held  bool
	ended bool
	timer *time.Timer
}

var errEnded = errors.New("the answer is not wanted any more")

// enter waits for a place, if the answer is large and has none.
func (a *allowance) enter(ctx context.Context) error {
	if a.room == nil || a.used.Load() <= small || a.has() {
		return nil
	}
	if err := a.room.line.Enter(ctx, a.server); err != nil {
		return fmt.Errorf("wait for the large answers of remote clusters that are read already: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		a.room.line.Leave(a.server)
		return errEnded
	}
	a.held = true
	if a.late != nil {
		a.timer = time.AfterFunc(patience, a.late)
	}
	return nil
}

func (a *allowance) has() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.held
}

// leave gives the place back, if there is one: what was read is decoded, and let go.
func (a *allowance) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.held {
		return
	}
	a.held = false
	if a.timer != nil {
		a.timer.Stop()
	}
	a.room.line.Leave(a.server)
}

// end is leave for good.
func (a *allowance) end() {
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
	a.leave()
}

type allowanceKey struct{}

// allow gives a request with the context that it returns an allowance of its own. The caller ends it when the answer is decoded.
func (c *Cluster) allow(ctx context.Context, limit int64) (context.Context, *allowance) {
	a := c.allowance(limit)
	return context.WithValue(ctx, allowanceKey{}, a), a
}

func (c *Cluster) allowance(limit int64) *allowance {
	return &allowance{limit: limit, room: c.room, server: c.config.Host}
}
