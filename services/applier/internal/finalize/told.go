package finalize

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// told remembers about which objects it was told that they take long, so that it is
// told once. A restart tells it again.
type told struct {
	mu  sync.Mutex
	all map[types.NamespacedName]types.UID
}

// first says whether this is the first call about an object.
func (t *told) first(name types.NamespacedName, uid types.UID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[name] == uid {
		return false
	}
	if t.all == nil {
		t.all = map[types.NamespacedName]types.UID{}
	}
	t.all[name] = uid
	return true
}

func (t *told) forget(name types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, name)
}
