package gitserver

import (
	"context"
	"testing"
)

// NewStoreT makes a store that goes away with the test.
func NewStoreT(t testing.TB) *Store {
	t.Helper()
	s, err := NewStore()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("remove repositories: %v", err)
		}
	})
	return s
}

// ServeHTTPT starts an HTTP server that stops with the test.
func (s *Store) ServeHTTPT(t testing.TB, options HTTPOptions) *HTTPServer {
	t.Helper()
	h, err := s.ServeHTTP(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("stop Git over HTTP: %v", err)
		}
	})
	return h
}

// ServeSSHT starts an SSH server that stops with the test.
func (s *Store) ServeSSHT(t testing.TB) *SSHServer {
	t.Helper()
	// Not the test's own context: that ends before the test's cleanups.
	server, err := s.ServeSSH(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("stop Git over SSH: %v", err)
		}
	})
	return server
}

// NewRepoT makes a repository, with one commit of files on DefaultBranch when there are any.
func (s *Store) NewRepoT(t testing.TB, name string, files map[string]string) *Repo {
	t.Helper()
	r, err := s.NewRepo(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) > 0 {
		r.CommitT(t, files, "first")
	}
	return r
}

// CommitT commits files to DefaultBranch and returns the commit's hash.
func (r *Repo) CommitT(t testing.TB, files map[string]string, message string) string {
	t.Helper()
	sha, err := r.Commit(t.Context(), DefaultBranch, message, files)
	if err != nil {
		t.Fatal(err)
	}
	return sha
}
