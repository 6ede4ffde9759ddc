package workspace

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
)

// store is where artifacts come from.
type store interface {
	Reader(ctx context.Context, name, wantDigest string) (io.ReadCloser, error)
}

// Config configures a Cache.
type Config struct {
	// Dir is the folder to keep artifacts in; it is emptied. No two caches may
	// share one.
	Dir string
	// Disk bounds all unpacked artifacts that no build uses, in bytes; 2 GiB when
	// zero.
	Disk int64
	// Limits bound each artifact.
	Limits Limits
	// Timeout bounds fetching and unpacking one; 5 minutes when zero.
	Timeout time.Duration
}

// Cache holds unpacked artifacts. It is safe for concurrent use.
type Cache struct {
	config Config
	store  store
	lock   *os.File

	mu    sync.Mutex
	trees map[string]*entry
	// order has the digests of finished trees, the one used last in front.
	order *list.List
	bytes int64
	work  sync.WaitGroup
}

// entry is an artifact that is being unpacked (ready is open) or was.
type entry struct {
	ready chan struct{}
	tree  *artifact.Tree
	err   error
	users int
	place *list.Element
}

// New empties the folder and returns a cache in it.
func New(s store, c Config) (*Cache, error) {
	if c.Disk <= 0 {
		c.Disk = 2 << 30
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Minute
	}
	c.Limits = c.Limits.withDefaults()
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("prepare workspace: %w", err)
	}
	lock, err := lockFolder(c.Dir)
	if err != nil {
		return nil, err
	}
	cache := &Cache{config: c, store: s, lock: lock, trees: map[string]*entry{}, order: list.New()}
	err = os.RemoveAll(cache.Folder())
	if err == nil {
		err = os.Mkdir(cache.Folder(), 0o755)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("empty workspace: %w", err), lock.Close())
	}
	return cache, nil
}

// Folder is the folder that all artifacts are unpacked in.
func (c *Cache) Folder() string { return filepath.Join(c.config.Dir, "artifacts") }

// Open returns the artifact with this name in the bucket and this digest,
// sha256:<hex>. Concurrent callers share one unpacking, which goes on although a
// caller's ctx ends. Errors are those of the store, or wrap ErrUnsafe.
func (c *Cache) Open(ctx context.Context, name, digest string) (*Lease, error) {
	hex, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("%w: its digest %q is not sha256:<64 hex digits>", ErrUnsafe, digest)
	}
	e := c.join(name, digest, hex)
	select {
	case <-e.ready:
	case <-ctx.Done():
		c.leave(e)
		return nil, context.Cause(ctx)
	}
	if e.err != nil {
		c.leave(e)
		return nil, e.err
	}
	return newLease(e.tree, func() { c.leave(e) }), nil
}

// join counts the caller as a user of an entry, which it begins if needed.
func (c *Cache) join(name, digest, hex string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.trees[digest]
	if !ok {
		e = &entry{ready: make(chan struct{})}
		c.trees[digest] = e
		c.work.Go(func() { c.fill(e, name, digest, hex) })
	}
	e.users++
	return e
}

// fill unpacks an artifact and tells the waiting. A failure is not remembered.
func (c *Cache) fill(e *entry, name, digest, hex string) {
	ctx, cancel := context.WithTimeout(context.Background(), c.config.Timeout)
	defer cancel()
	tree, err := c.fetch(ctx, name, digest, filepath.Join(c.Folder(), hex))
	c.mu.Lock()
	defer c.mu.Unlock()
	e.tree, e.err = tree, err
	if err != nil {
		delete(c.trees, digest)
	} else {
		e.place = c.order.PushFront(digest)
		c.bytes += tree.Bytes
		c.evict()
	}
	close(e.ready)
}

func (c *Cache) fetch(ctx context.Context, name, digest, dir string) (*artifact.Tree, error) {
	body, err := c.store.Reader(ctx, name, digest)
	if err != nil {
		return nil, fmt.Errorf("fetch artifact: %w", err)
	}
	defer body.Close()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("unpack artifact: %w", err)
	}
	to, err := artifact.Create(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := unpack(body, to, c.config.Limits); err != nil {
		return nil, errors.Join(err, to.Abort(), os.RemoveAll(dir))
	}
	tree, err := to.Finish()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return tree, nil
}

// leave counts a user off.
func (c *Cache) leave(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	if e.place != nil {
		c.order.MoveToFront(e.place)
	}
	c.evict()
}

// evict removes what was used longest ago and has no user, until the rest fits.
func (c *Cache) evict() {
	for at := c.order.Back(); at != nil && c.bytes > c.config.Disk; {
		digest, _ := at.Value.(string)
		e, before := c.trees[digest], at.Prev()
		if e.users == 0 && os.RemoveAll(e.tree.Dir) == nil {
			c.order.Remove(at)
			delete(c.trees, digest)
			c.bytes -= e.tree.Bytes
		}
		at = before
	}
}

// Close waits for what is being unpacked and removes everything.
func (c *Cache) Close() error {
	c.work.Wait()
	return errors.Join(os.RemoveAll(c.Folder()), c.lock.Close())
}
