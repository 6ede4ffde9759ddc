package gitserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Store is a folder of bare repositories. Any number of servers may serve one store.
type Store struct {
	folder string
	mu     sync.Mutex
	counts map[string]Counts
}

// Counts are the visits to a repository, so that a test can tell a look at its
// references from a download.
type Counts struct {
	// Visits counts how often a client asked what there is: GET info/refs over HTTP, sessions over SSH.
	Visits int
	// Fetches counts how often a client then asked for objects.
	Fetches int
}

// NewStore makes an empty store in a new folder.
func NewStore() (*Store, error) {
	folder, err := os.MkdirTemp("", "gitserver-")
	if err != nil {
		return nil, fmt.Errorf("make folder of repositories: %w", err)
	}
	return &Store{folder: folder, counts: map[string]Counts{}}, nil
}

// Close removes the repositories.
func (s *Store) Close() error { return os.RemoveAll(s.folder) }

// NewRepo makes an empty repository, whose HEAD is DefaultBranch. A name may hold slashes.
func (s *Store) NewRepo(ctx context.Context, name string) (*Repo, error) {
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("make repository %q: the name leaves the store", name)
	}
	r := &Repo{Name: name, folder: filepath.Join(s.folder, name+".git")}
	if err := os.MkdirAll(r.folder, 0o755); err != nil {
		return nil, fmt.Errorf("make repository %s: %w", name, err)
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil, fmt.Errorf("make repository %s: %w", name, err)
	}
	if _, err := r.git(ctx, "", "init", "--bare", "--quiet", "--initial-branch="+DefaultBranch); err != nil {
		return nil, err
	}
	// Hosts let clients fetch a commit by its hash.
	if _, err := r.git(ctx, "", "config", "uploadpack.allowAnySHA1InWant", "true"); err != nil {
		return nil, err
	}
	return r, nil
}

// Counts returns how often a repository was asked since the store was made.
func (s *Store) Counts(repo string) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[repo]
}

func (s *Store) count(repo string, add func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := s.counts[repo]
	add(&counts)
	s.counts[repo] = counts
}
