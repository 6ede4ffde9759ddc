package desired

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/internal/share"
)

// ErrBroken says that a render is missing in the bucket, damaged or not what its
// id says: it must be built again and must not be applied.
var ErrBroken = errors.New("the render cannot be used")

// ErrNoRoom says that the renders which others have open leave no room for a large one now.
var ErrNoRoom = errors.New("the renders that are open leave no room for it")

const (
	// cacheBytes bounds the size of the renders that are kept.
	cacheBytes = 32 << 20
	// openWeight is what all renders that are open may weigh (render.Weight), and render.MaxWeight what those of one
	// namespace may: one of any size always fits. Small ones need no room: the workers bound them.
	openWeight  = render.MaxWeight * 3 / 2
	smallWeight = 4 << 20
	// sealedMore is what a sealed render may have more bytes than it has itself.
	sealedMore = 1 << 20
	// roomWait is how long a worker waits for room.
	roomWait = 2 * time.Second
)

// store reads the bucket.
type store interface {
	Get(ctx context.Context, name, wantDigest string, limit int64) ([]byte, error)
}

// opener opens sealed renders.
type opener interface {
	OpenWithin(ctx context.Context, id seal.Identity, contentID string, sealed []byte, limit int) ([]byte, error)
}

// Renders opens renders and keeps the ones used last, in their encoded form: the
// objects take many times the room.
type Renders struct {
	store store
	keys  opener
	room  *share.Room

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
	return &Renders{
		store: s, keys: keys, room: share.NewRoom(openWeight, render.MaxWeight),
		order: list.New(), byKey: map[seal.Identity]*list.Element{},
	}
}

// Name is where the sealed render of an object is stored.
func Name(id seal.Identity, kind, renderID string) string {
	return fmt.Sprintf("renders/%s/%s/%s/%s/%s", id.Cluster, kind, id.Namespace, id.Name, renderID)
}

// Open returns the objects of a render, and what to call when they are not used any more. An error that wraps ErrBroken
// cannot be helped by trying again, one that wraps ErrNoRoom by trying a little later.
func (r *Renders) Open(ctx context.Context, id seal.Identity, name, renderID string) ([]render.Object, func(), error) {
	return open(ctx, r, id, name, renderID, render.Decode)
}

// OpenRelease is Open for the Helm release of a render.
func (r *Renders) OpenRelease(ctx context.Context, id seal.Identity, name, renderID string) (render.Release, func(), error) {
	return open(ctx, r, id, name, renderID, render.DecodeRelease)
}

func open[T any](ctx context.Context, r *Renders, id seal.Identity, name, renderID string, decode func([]byte) (T, error)) (T, func(), error) {
	var none T
	plain, known := r.lookup(id, renderID)
	plain, leave, err := r.admit(ctx, id, name, renderID, plain)
	if err != nil {
		return none, nil, err
	}
	decoded, err := decode(plain)
	if err != nil {
		leave()
		return none, nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if !known {
		r.keep(&cached{object: id, renderID: renderID, plain: plain})
	}
	return decoded, leave, nil
}

// admit reads a render, unless it is known already, and takes the room that it needs. How much that is nobody can say of a
// large one before it is unpacked: meanwhile it has all that a render may have.
func (r *Renders) admit(ctx context.Context, id seal.Identity, name, renderID string, known []byte) (plain []byte, leave func(), err error) {
	taken := render.MaxWeight
	if plain = known; plain == nil {
		plain, err = r.load(ctx, id, name, renderID, smallWeight)
	}
	if err == nil {
		taken = render.Weight(plain)
	}
	switch {
	case err != nil && !tooLarge(err):
		return nil, nil, err
	case taken <= smallWeight:
		return plain, func() {}, nil
	case taken > render.MaxWeight:
		return nil, nil, heavy(taken)
	}
	if err := r.enter(ctx, id.Namespace, taken); err != nil {
		return nil, nil, err
	}
	leave = func() { r.room.Leave(id.Namespace, taken) }
	if plain == nil {
		plain, err = r.load(ctx, id, name, renderID, render.MaxWeight)
		if weight := render.Weight(plain); err == nil && weight > taken {
			err = heavy(weight)
		} else if err == nil {
			r.room.Leave(id.Namespace, taken-weight)
			taken = weight
		}
	}
	if err != nil {
		leave()
		return nil, nil, err
	}
	return plain, leave, nil
}

func heavy(weight int) error {
	return fmt.Errorf("%w: it needs %d bytes of memory where %d are allowed", ErrBroken, weight, render.MaxWeight)
}

// enter waits for room, for as long as a worker may wait.
func (r *Renders) enter(ctx context.Context, namespace string, weight int) error {
	bounded, cancel := context.WithTimeoutCause(ctx, roomWait, ErrNoRoom)
	defer cancel()
	return r.room.Enter(bounded, namespace, weight)
}

// tooLarge says that a render was not read because it has more bytes than were asked for.
func tooLarge(err error) bool {
	return errors.Is(err, blob.ErrTooLarge) || errors.Is(err, seal.ErrTooLarge)
}

// load reads a render of at most limit bytes from the bucket and opens its seal.
func (r *Renders) load(ctx context.Context, id seal.Identity, name, renderID string, limit int) ([]byte, error) {
	sealed, err := r.store.Get(ctx, name, "", int64(limit+sealedMore))
	switch {
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCorrupt), errors.Is(err, blob.ErrTooLarge):
		return nil, fmt.Errorf("open render: %w: %w", ErrBroken, err)
	case err != nil:
		return nil, fmt.Errorf("open render: %w", err)
	}
	plain, err := r.keys.OpenWithin(ctx, id, renderID, sealed, limit)
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
