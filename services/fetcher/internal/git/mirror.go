package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/sluice-gitops/sluice/internal/share"
)

const (
	// maxPacks and maxLoose bound what piles up in a mirror. Past them it is
	// fetched anew.
	maxPacks = 50
	maxLoose = 20000
	// maxTips is how many commits a mirror says it has when it fetches.
	maxTips = 16
	// largeObject is the size from which a packed object is streamed from disk.
	largeObject = 8 << 20
	// tipsFile lists the commits that are complete in the mirror, newest last.
	tipsFile = "tips"
)

// mirror is a bare object store on disk. Only the commits in tips are known to be
// complete: an interrupted fetch may leave more objects, which count for nothing. Any
// number read it at a time, also while one writes: objects come, and none go.
type mirror struct {
	dir   string
	cache cache.Object
	// indexing is where packs that take much memory wait for one another, of all mirrors of a client.
	indexing *share.Turns
	// writing has room for the one who writes.
	writing chan struct{}

	// What follows belongs to the client's lock: who uses the mirror, when it was used last,
	// and that nobody else shall use it, so that it goes with the last of them.
	users int
	used  time.Time
	gone  bool

	mu    sync.Mutex
	store *overlay
	tips  []plumbing.Hash
}

func newMirror(dir string, objects cache.Object, indexing *share.Turns) *mirror {
	return &mirror{dir: dir, cache: objects, indexing: indexing, writing: make(chan struct{}, 1)}
}

func (m *mirror) lock(ctx context.Context) error {
	select {
	case m.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the mirror: %w", context.Cause(ctx))
	}
}

func (m *mirror) tryLock() bool {
	select {
	case m.writing <- struct{}{}:
		return true
	default:
		return false
	}
}

func (m *mirror) unlock() { <-m.writing }

// open readies the store. A mirror that cannot be read starts anew.
func (m *mirror) open() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.store != nil {
		return nil
	}
	tips, err := readTips(filepath.Join(m.dir, tipsFile))
	if err != nil {
		if err := m.remove(); err != nil {
			return err
		}
	}
	if err := m.tidy(); err != nil {
		return err
	}
	store := filesystem.NewStorageWithOptions(osfs.New(m.dir, osfs.WithBoundOS()), m.cache, filesystem.Options{
		MaxOpenDescriptors: 8, LargeObjectThreshold: largeObject,
	})
	if err := store.Init(); err != nil {
		return fmt.Errorf("create mirror: %w", err)
	}
	m.store, m.tips = newOverlay(store), tips
	return nil
}

// tidy deletes what a process that was killed left half done.
func (m *mirror) tidy() error {
	packs := filepath.Join(m.dir, "objects", "pack")
	for folder, done := range map[string]func(name string) bool{
		m.dir: func(name string) bool { return !strings.HasPrefix(name, "spool-") && !strings.HasSuffix(name, ".new") },
		packs: func(name string) bool {
			stem, isIndex := strings.CutSuffix(name, ".idx")
			if isIndex { // it is there before its pack is
				_, err := os.Stat(filepath.Join(packs, stem+".pack"))
				return err == nil
			}
			return strings.HasSuffix(name, ".pack")
		},
	} {
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("tidy mirror: %w", err)
		}
		for _, entry := range entries {
			if done(entry.Name()) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(folder, entry.Name())); err != nil {
				return fmt.Errorf("tidy mirror: %w", err)
			}
		}
	}
	return nil
}

func readTips(path string) ([]plumbing.Hash, error) {
	body, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read mirror: %w", err)
	}
	var tips []plumbing.Hash
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSpace(line)
		if !plumbing.IsHash(line) {
			return nil, errors.New("read mirror: the list of commits is damaged")
		}
		tips = append(tips, plumbing.NewHash(line))
	}
	return tips, nil
}

// have returns the commits that are complete.
func (m *mirror) have() []plumbing.Hash {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.tips)
}

// record says that commits are complete now. On disk it says so only once their
// objects are there. Only who writes calls it.
func (m *mirror) record(commits []plumbing.Hash) error {
	m.mu.Lock()
	keep := slices.DeleteFunc(slices.Clone(m.tips), func(h plumbing.Hash) bool { return slices.Contains(commits, h) })
	keep = append(keep, commits...)
	m.tips = keep[max(0, len(keep)-max(maxTips, len(commits))):]
	m.mu.Unlock()
	if m.store.empty() {
		return m.save()
	}
	return nil
}

// flush brings the mirror on disk up to date. Only who writes calls it.
func (m *mirror) flush() error {
	if m.store == nil || m.store.empty() {
		return nil
	}
	if err := m.store.flush(); err != nil {
		return err
	}
	return m.save()
}

// save writes the list of complete commits.
func (m *mirror) save() error {
	var b strings.Builder
	for _, h := range m.have() {
		b.WriteString(h.String() + "\n")
	}
	path := filepath.Join(m.dir, tipsFile)
	if err := os.WriteFile(path+".new", []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("record fetched commits: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("record fetched commits: %w", err)
	}
	return nil
}

// holds says that all there is of a target is complete.
func (m *mirror) holds(target Target) bool {
	have := m.have()
	for _, h := range target.tips {
		if !slices.Contains(have, h) {
			return false
		}
	}
	return target.tagged.IsZero() || m.store.HasEncodedObject(target.tagged) == nil
}

// crowded says that too much has piled up. Loose objects are estimated from one
// of the 256 folders they are spread over, as Git itself does.
func (m *mirror) crowded() bool {
	packs, _ := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "*.pack")) // the pattern is constant
	if len(packs) >= maxPacks {
		return true
	}
	loose, err := os.ReadDir(filepath.Join(m.dir, "objects", "17"))
	return err == nil && len(loose)*256 > maxLoose
}

// shut closes open files.
func (m *mirror) shut() error {
	if m.store == nil {
		return nil
	}
	err := m.store.close()
	if err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close mirror: %w", err)
	}
	return nil
}

// remove deletes the mirror's content.
func (m *mirror) remove() error {
	if err := os.RemoveAll(m.dir); err != nil {
		return fmt.Errorf("delete mirror: %w", err)
	}
	return nil
}

// oldest returns the n least recently used mirrors.
func oldest(mirrors []*mirror, n int) []*mirror {
	if n <= 0 {
		return nil
	}
	slices.SortFunc(mirrors, func(a, b *mirror) int { return a.used.Compare(b.used) })
	return mirrors[:n]
}
