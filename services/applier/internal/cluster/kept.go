package cluster

import (
	"errors"
	"sync"
)

// maxDiscovery bounds all answers together in which one API server says what it serves, as long as they are kept.
const maxDiscovery = 32 << 20

// errKept says that no more is kept of remote clusters.
var errKept = errors.New("there is no more room for what remote clusters of this namespace serve")

// Kept is how much somebody keeps of a cluster's answers for longer than a request. A nil Kept has no bound.
type Kept struct {
	room   *Room
	tenant string
	amount int64
	ended  bool
}

// Keep returns a Kept for what is kept of the cluster, nil when that is trusted.
func (c *Cluster) Keep() *Kept {
	if c.trusted {
		return nil
	}
	return &Kept{room: c.room, tenant: c.tenant}
}

// Resize makes it so many bytes. It returns false, and changes nothing, when there is no room for more: a tenant gets more
// only while it has less than twice as much as is left, so that something is left for one that has nothing.
func (k *Kept) Resize(bytes int64) bool {
	if k == nil {
		return true
	}
	k.room.mu.Lock()
	defer k.room.mu.Unlock()
	more := bytes - k.amount
	held := k.room.held[k.tenant] + more
	if more > 0 && (k.ended || held > 2*(k.room.free-more)) {
		return false
	}
	k.amount += more
	k.room.free -= more
	if k.room.held[k.tenant] = held; held == 0 {
		delete(k.room.held, k.tenant)
	}
	return true
}

// End gives all back, for good.
func (k *Kept) End() {
	if k == nil {
		return
	}
	k.Resize(0)
	k.room.mu.Lock()
	defer k.room.mu.Unlock()
	k.ended = true
}

// Close gives back what is kept of what the cluster serves, when nobody uses it any more. What is asked after that may fail.
func (c *Cluster) Close() {
	if c.served != nil {
		c.served.reset()
		c.served.kept.End()
	}
}

// discovered adds up what an API server said in answers that are kept, by their paths. A nil one has no bound.
type discovered struct {
	kept *Kept

	mu    sync.Mutex
	sizes map[string]int64
	sum   int64
}

// note takes the fact that the answer to a path has so many bytes, so far. The error says that all are too many.
func (d *discovered) note(path string, bytes int64) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	size := max(d.sizes[path], bytes+perObject)
	sum := d.sum + size - d.sizes[path]
	if sum > maxDiscovery {
		return &TooLargeError{Request: "discovery", Limit: maxDiscovery}
	}
	if !d.kept.Resize(sum) {
		return errKept
	}
	d.sizes[path], d.sum = size, sum
	return nil
}

// reset takes the fact that nothing is kept any more.
func (d *discovered) reset() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sizes, d.sum = map[string]int64{}, 0
	d.kept.Resize(0)
}
