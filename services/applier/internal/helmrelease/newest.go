package helmrelease

import (
	"context"
	"sync"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// written are the objects that this process wrote last, until the watch has shown them.
type written struct {
	mu      sync.Mutex
	objects map[client.ObjectKey]*helmv2.HelmRelease
}

func (w *written) put(hr *helmv2.HelmRelease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.objects == nil {
		w.objects = map[client.ObjectKey]*helmv2.HelmRelease{}
	}
	w.objects[client.ObjectKeyFromObject(hr)] = hr.DeepCopy()
}

// newer returns what was written when it is newer than what the watch has, and forgets it else.
// Versions that cannot be compared count as not newer.
func (w *written) newer(watched *helmv2.HelmRelease) *helmv2.HelmRelease {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := client.ObjectKeyFromObject(watched)
	own, ok := w.objects[name]
	if !ok {
		return watched
	}
	order, err := resourceversion.CompareResourceVersion(own.ResourceVersion, watched.ResourceVersion)
	if own.UID != watched.UID || err != nil || order <= 0 {
		delete(w.objects, name)
		return watched
	}
	return own.DeepCopy()
}

func (w *written) forget(name client.ObjectKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.objects, name)
}

// read reads an object: the newest that this process knows, or from the API server. Every
// action begins with a write on the version that was read, so that one that is old costs a second look only.
// What the watch does not have is asked for: it may be new, or written a moment ago.
func (w *Worker) read(ctx context.Context, name client.ObjectKey, live bool) (*helmv2.HelmRelease, error) {
	hr := &helmv2.HelmRelease{}
	if !live {
		if err := w.Client.Get(ctx, name, hr); err == nil {
			return w.written.newer(hr), nil
		}
	}
	w.written.forget(name)
	return hr, w.Live.Get(ctx, name, hr)
}
