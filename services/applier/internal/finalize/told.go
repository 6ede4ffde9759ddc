package finalize

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// told remembers about which objects it was told that they take long, so that it is
// told once. A restart tells it again.
type told struct {
	mu  sync.Mutex
	all map[types.UID]bool
}

// first says whether this is the first call about an object.
func (t *told) first(uid types.UID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[uid] {
		return false
	}
	if t.all == nil {
		t.all = map[types.UID]bool{}
	}
	t.all[uid] = true
	return true
}

func (t *told) forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, uid)
}
