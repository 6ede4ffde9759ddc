package claim

import (
	"context"
	"fmt"
	"sync"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Reader reads Kustomizations: from the watch's cache, from what this process
// wrote itself when that is newer, or from the API server.
type Reader struct {
	cache, live client.Reader

	mu     sync.Mutex
	recent map[types.NamespacedName]*kustomizev1.Kustomization
}

// NewReader returns a Reader over a watch's cache and the API server.
func NewReader(cache, live client.Reader) *Reader {
	return &Reader{cache: cache, live: live, recent: map[types.NamespacedName]*kustomizev1.Kustomization{}}
}

// Get returns a copy of the newest state this process knows, nil when the object
// is gone.
func (r *Reader) Get(ctx context.Context, name types.NamespacedName) (*kustomizev1.Kustomization, error) {
	ks := &kustomizev1.Kustomization{}
	err := r.cache.Get(ctx, name, ks)
	if apierrors.IsNotFound(err) {
		return r.missing(ctx, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read Kustomization %s: %w", name, err)
	}
	return r.newer(name, ks), nil
}

// missing settles an object that the cache does not have: one that this process
// wrote a moment ago may not have reached the cache.
func (r *Reader) missing(ctx context.Context, name types.NamespacedName) (*kustomizev1.Kustomization, error) {
	r.mu.Lock()
	_, known := r.recent[name]
	r.mu.Unlock()
	if !known {
		return nil, nil
	}
	return r.Live(ctx, name)
}

// Live reads from the API server, nil when the object is gone.
func (r *Reader) Live(ctx context.Context, name types.NamespacedName) (*kustomizev1.Kustomization, error) {
	ks := &kustomizev1.Kustomization{}
	err := r.live.Get(ctx, name, ks)
	if apierrors.IsNotFound(err) {
		r.Forget(name)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Kustomization %s: %w", name, err)
	}
	r.remember(ks)
	return ks, nil
}

// newer returns the newer of a cached object and the one written last, and drops
// the latter once the cache has caught up.
func (r *Reader) newer(name types.NamespacedName, cached *kustomizev1.Kustomization) *kustomizev1.Kustomization {
	r.mu.Lock()
	defer r.mu.Unlock()
	own, ok := r.recent[name]
	if !ok {
		return cached
	}
	if own.UID != cached.UID || !after(own, cached) {
		delete(r.recent, name)
		return cached
	}
	return own.DeepCopy()
}

func (r *Reader) remember(ks *kustomizev1.Kustomization) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recent[client.ObjectKeyFromObject(ks)] = ks.DeepCopy()
}

// Forget drops what this process wrote to an object.
func (r *Reader) Forget(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.recent, name)
}

// after says whether a is newer than b. Versions that cannot be compared count
// as not newer: the cache then decides.
func after(a, b client.Object) bool {
	order, err := resourceversion.CompareResourceVersion(a.GetResourceVersion(), b.GetResourceVersion())
	return err == nil && order > 0
}
