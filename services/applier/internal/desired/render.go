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

// cacheBytes bounds the size of the renders that are kept.
const cacheBytes = 32 << 20

// store reads the bucket.
type store interface {
	Get(ctx context.Context, name, wantDigest string, limit int64) ([]byte, error)
}

// opener opens sealed renders.
type opener interface {
	Open(ctx context.Context, id seal.Identity, contentID string, sealed []byte) ([]byte, error)
}

// Renders opens renders and keeps the ones used last, in their encoded form: the
// objects take many times the room.
type Renders struct {
	store store
	keys  opener

	mu    sync.Mutex
	order *list.List
	byKey map[seal.Identity]*list.Element
	size  int
}

// cached is the render of an object that was used last.
type cached struct {
	object   seal.Identity
	renderID string
	plain    []byte
}

// NewRenders returns Renders over a bucket.
func NewRenders(s store, keys opener) *Renders {
	return &Renders{store: s, keys: keys, order: list.New(), byKey: map[seal.Identity]*list.Element{}}
}

// Name is where the sealed render of an object is stored.
func Name(id seal.Identity, kind, renderID string) string {
	return fmt.Sprintf("renders/%s/%s/%s/%s/%s", id.Cluster, kind, id.Namespace, id.Name, renderID)
}

// Open returns the objects of a render. An error that wraps ErrBroken cannot be
// helped by trying again.
func (r *Renders) Open(ctx context.Context, id seal.Identity, name, renderID string) ([]render.Object, error) {
	return open(ctx, r, id, name, renderID, render.Decode)
}

// OpenRelease returns the Helm release of a render. An error that wraps ErrBroken cannot be
// helped by trying again.
func (r *Renders) OpenRelease(ctx context.Context, id seal.Identity, name, renderID string) (render.Release, error) {
	return open(ctx, r, id, name, renderID, render.DecodeRelease)
}

func open[T any](ctx context.Context, r *Renders, id seal.Identity, name, renderID string, decode func([]byte) (T, error)) (T, error) {
	var none T
	plain, ok := r.lookup(id, renderID)
	if !ok {
		var err error
		if plain, err = r.load(ctx, id, name, renderID); err != nil {
			return none, err
		}
	}
	decoded, err := decode(plain)
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if !ok {
		r.keep(&cached{object: id, renderID: renderID, plain: plain})
	}
	return decoded, nil
}

// load reads a render from the bucket and opens its seal.
func (r *Renders) load(ctx context.Context, id seal.Identity, name, renderID string) ([]byte, error) {
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
	}
	return plain, err
}

func (r *Renders) lookup(id seal.Identity, renderID string) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	element, ok := r.byKey[id]
	if !ok || element.Value.(*cached).renderID != renderID {
		return nil, false
	}
	r.order.MoveToFront(element)
	return element.Value.(*cached).plain, true
}

// keep keeps a render in place of the one of its object that was kept before.
func (r *Renders) keep(c *cached) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, ok := r.byKey[c.object]; ok {
		r.drop(before)
	}
	if len(c.plain) > cacheBytes {
		return
	}
	r.byKey[c.object] = r.order.PushFront(c)
	r.size += len(c.plain)
	for r.size > cacheBytes {
		r.drop(r.order.Back())
	}
}

func (r *Renders) drop(element *list.Element) {
	c := r.order.Remove(element).(*cached)
	delete(r.byKey, c.object)
	r.size -= len(c.plain)
}
