package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
)

// ErrNone says that there is no snapshot that can be used.
var ErrNone = errors.New("no usable snapshot")

// contentID stands in the seal where a render has its own, so that neither opens as
// the other. Its number is that of the format.
const contentID = "live table v1"

const (
	// calm is how long nothing must have changed before snapshots are written: while a
	// commit changes everything, the machine is better used. What a crash takes costs
	// a dry run for each object.
	calm = 2 * time.Second
	// patience is how long a snapshot waits for calm.
	patience = 20 * time.Second
	// writers is how many snapshots are written at once: few, since nobody waits for them.
	writers = 2
	// flush bounds the writes at the end of the process.
	flush = 5 * time.Second
)

// bucket is where snapshots are.
type bucket interface {
	Get(ctx context.Context, name, wantDigest string, limit int64) ([]byte, error)
	Replace(ctx context.Context, name string, body []byte, digest string) error
	Delete(ctx context.Context, name string) error
}

// ring seals snapshots and opens them.
type ring interface {
	Seal(id seal.Identity, contentID string, plain []byte) ([]byte, error)
	Open(ctx context.Context, id seal.Identity, contentID string, sealed []byte) ([]byte, error)
}

// Store has one snapshot for each Kustomization and HelmRelease.
type Store struct {
	bucket bucket
	ring   ring
	log    *slog.Logger

	mu    sync.Mutex
	queue map[string]job
	// first is when the oldest job in the queue came, last the newest.
	first, last time.Time
	// failing is true since a round of writes in which one failed; only who writes uses it.
	failing bool
}

// job is what is to be done about a snapshot: written, or deleted when keep is nil.
type job struct {
	id            seal.Identity
	place, render string
	keep          func() []livestate.Kept
}

// content is the plain form of a snapshot.
type content struct {
	// Render is what was applied completely when the snapshot was taken, in the cluster of Place.
	Render  string
	Place   string `json:",omitempty"`
	Objects []livestate.Kept
}

// New returns a store. Nothing is written unless Run runs.
func New(b bucket, r ring, log *slog.Logger) *Store {
	return &Store{bucket: b, ring: r, log: log, queue: map[string]job{}}
}

func name(id seal.Identity) string {
	return fmt.Sprintf("live/%s/%s/%s/%s", id.Cluster, strings.ToLower(id.Kind), id.Namespace, id.Name)
}

// Save writes a snapshot a moment later, in place of one that is still to be
// written. render is what was applied in the cluster of place, which is empty for the applier's own; keep is called when it is written, and returns nil when
// nothing is known any more that could be.
func (s *Store) Save(id seal.Identity, place, render string, keep func() []livestate.Kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(job{id: id, place: place, render: render, keep: keep})
}

// Drop deletes the snapshot of an object that is gone; id needs no uid.
func (s *Store) Drop(id seal.Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(job{id: id})
}

func (s *Store) put(j job) {
	s.last = time.Now()
	if len(s.queue) == 0 {
		s.first = s.last
	}
	s.queue[name(j.id)] = j
}

// due says that what is queued should be written now.
func (s *Store) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) > 0 && (time.Since(s.last) >= calm || time.Since(s.first) >= patience)
}

// Load returns what was kept when render had been applied completely in the cluster of place. An error that
// wraps ErrNone will not go away.
func (s *Store) Load(ctx context.Context, id seal.Identity, place, render string) ([]livestate.Kept, error) {
	sealed, err := s.bucket.Get(ctx, name(id), "", seal.MaxPlain)
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) || errors.Is(err, blob.ErrTooLarge) {
		return nil, fmt.Errorf("%w of %s: %w", ErrNone, id, err)
	}
	if err != nil {
		return nil, fmt.Errorf("load snapshot of %s: %w", id, err)
	}
	plain, err := s.ring.Open(ctx, id, contentID, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	var c content
	if err := json.Unmarshal(plain, &c); err != nil {
		return nil, fmt.Errorf("%w of %s: %w", ErrNone, id, err)
	}
	if c.Render != render || c.Place != place {
		return nil, fmt.Errorf("%w of %s: it is of another render, or cluster", ErrNone, id)
	}
	return c.Objects, nil
}

// Run writes until the context ends, and then what is left.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(calm / 4)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			if s.due() {
				s.write(ctx)
			}
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flush)
	defer cancel()
	s.write(last)
	return nil
}

// write does what is queued. What fails is tried again, unless something newer came. The log has one of what fails when
// something begins to, and that nothing does any more.
func (s *Store) write(ctx context.Context) {
	s.mu.Lock()
	jobs := s.queue
	s.queue = map[string]job{}
	s.mu.Unlock()
	if len(jobs) == 0 {
		return
	}
	failures := make(chan failure, len(jobs))
	var group errgroup.Group
	group.SetLimit(writers)
	for name, j := range jobs {
		group.Go(func() error {
			if err := s.do(ctx, name, j); err != nil {
				failures <- failure{job: j, err: err}
				s.again(name, j)
			}
			return nil
		})
	}
	_ = group.Wait() // no job returns an error
	close(failures)
	s.report(failures)
}

type failure struct {
	job
	err error
}

func (s *Store) report(failures <-chan failure) {
	count := len(failures)
	was := s.failing
	s.failing = count > 0
	switch {
	case s.failing && !was:
		f := <-failures
		s.log.Warn("cannot keep the live table; trying again", "failed", count, "namespace", f.id.Namespace, "name", f.id.Name, "error", f.err.Error())
	case was && !s.failing:
		s.log.Info("the live table is kept again")
	}
}

func (s *Store) again(name string, j job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, newer := s.queue[name]; !newer {
		s.put(j)
	}
}

func (s *Store) do(ctx context.Context, name string, j job) error {
	if j.keep == nil {
		err := s.bucket.Delete(ctx, name)
		if errors.Is(err, blob.ErrNotFound) {
			return nil
		}
		return err
	}
	objects := j.keep()
	if objects == nil {
		return nil
	}
	plain, err := json.Marshal(content{Render: j.render, Place: j.place, Objects: objects})
	if err != nil {
		return fmt.Errorf("encode snapshot: %w", err)
	}
	sealed, err := s.ring.Seal(j.id, contentID, plain)
	if err != nil {
		return err
	}
	return s.bucket.Replace(ctx, name, sealed, blob.Digest(sealed))
}
