package desired

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
)

// ErrBroken says that a render is missing in the bucket, damaged or not what its
// id says: it must be built again and must not be applied.
var ErrBroken = errors.New("the render cannot be used")

// cacheBytes bounds the size of the renders, decoded from as many bytes, that are kept open.
const cacheBytes = 64 << 20

// store reads the bucket.
type store interface {
	Get(ctx context.Context, name, wantDigest string, limit int64) ([]byte, error)
}

// opener opens sealed renders.
type opener interface {
	Open(ctx context.Context, id seal.Identity, contentID string, sealed []byte) ([]byte, error)
}

// Renders opens renders and keeps the ones used last.
type Renders struct {
	store store
	keys  opener

	mu    sync.Mutex
	order *list.List
	byID  map[cacheKey]*list.Element
	size  int
}

type cacheKey struct {
	seal.Identity
	renderID string
}

type cached struct {
	key     cacheKey
	objects []render.Object
	size    int
}

// NewRenders returns Renders over a bucket.
func NewRenders(s store, keys opener) *Renders {
	return &Renders{store: s, keys: keys, order: list.New(), byID: map[cacheKey]*list.Element{}}
}

// Name is where the sealed render of an object is stored.
func Name(id seal.Identity, kind, renderID string) string {
	return fmt.Sprintf("renders/%s/%s/%s/%s/%s", id.Cluster, kind, id.Namespace, id.Name, renderID)
}

// Open returns the objects of a render; they are shared, do not change them. An
// error that wraps ErrBroken cannot be helped by trying again.
func (r *Renders) Open(ctx context.Context, id seal.Identity, name, renderID string) ([]render.Object, error) {
	key := cacheKey{Identity: id, renderID: renderID}
	if objects, ok := r.lookup(key); ok {
		return objects, nil
	}
	sealed, err := r.store.Get(ctx, name, "", seal.MaxPlain)
	switch {
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCorrupt), errors.Is(err, blob.ErrTooLarge):
		return nil, fmt.Errorf("open render: %w: %w", ErrBroken, err)
	case err != nil:
		return nil, fmt.Errorf("open render: %w", err)
	}
	plain, err := r.keys.Open(ctx, id, renderID, sealed)
	switch {
	case errors.Is(err, seal.ErrForged), errors.Is(err, seal.ErrFormat), errors.Is(err, seal.ErrUnknownKey), errors.Is(err, seal.ErrTooLarge):
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	case err != nil:
		return nil, err
	}
	objects, err := render.Decode(plain)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	r.keep(&cached{key: key, objects: objects, size: len(plain)})
	return objects, nil
}

func (r *Renders) lookup(key cacheKey) ([]render.Object, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	element, ok := r.byID[key]
	if !ok {
		return nil, false
	}
	r.order.MoveToFront(element)
	return element.Value.(*cached).objects, true
}

func (r *Renders) keep(c *cached) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.byID[c.key]; ok || c.size > cacheBytes {
		return
	}
	r.byID[c.key] = r.order.PushFront(c)
	r.size += c.size
	for r.size > cacheBytes {
		oldest := r.order.Back()
		drop := r.order.Remove(oldest).(*cached)
		delete(r.byID, drop.key)
		r.size -= drop.size
	}
}
