package handle

import (
	"sync"

	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// written remembers the objects whose status this process wrote, until the watch has
// shown them: who reads a status and asks for its artifact at once is faster than that.
type written struct {
	mu    sync.Mutex
	byKey map[events.Key]source.Object
}

func (w *written) remember(key events.Key, obj source.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byKey == nil {
		w.byKey = map[events.Key]source.Object{}
	}
	w.byKey[key] = obj
}

func (w *written) forget(key events.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.byKey, key)
}

// newer returns what was written last when that is newer than what is cached, which
// may be nil.
func (w *written) newer(key events.Key, cached source.Object) source.Object {
	w.mu.Lock()
	defer w.mu.Unlock()
	own, ok := w.byKey[key]
	if !ok {
		return cached
	}
	if cached == nil {
		return own
	}
	order, err := resourceversion.CompareResourceVersion(own.GetResourceVersion(), cached.GetResourceVersion())
	if err != nil || order <= 0 {
		delete(w.byKey, key)
		return cached
	}
	return own
}

// Newest returns the newest state of an object that this process knows; cached, which
// may be nil, is what the watch has shown. Do not change it.
func (h *Handler) Newest(key events.Key, cached source.Object) source.Object {
	return h.written.newer(key, cached)
}
