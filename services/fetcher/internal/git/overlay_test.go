package git_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// A push that changes many files costs a pack in the mirror, not a file for each.
func TestLargeIncrementIsKeptAsPacks(t *testing.T) {
	root := t.TempDir()
	repo := gittest.NewRepo(t, root, "repo")
	repo.Commit("main", "first", many("first", 400))
	server := gittest.ServeHTTP(t, root, false, nil)
	dir := t.TempDir()
	remote, ref := git.Remote{URL: server.URL + "/repo"}, git.Reference{Branch: "main"}
	for _, c := range []struct {
		reason string
		files  map[string]string
	}{
		{"into an empty mirror", nil},
		{"more objects than stay in memory", many("many", 2100)},
		{"more bytes than a fetch holds", map[string]string{
			"a": strings.Repeat("a0", 5<<20), "b": strings.Repeat("b1", 5<<20), "c": strings.Repeat("c2", 10<<20),
		}},
	} {
		if c.files != nil {
			repo.Commit("main", c.reason, c.files)
		}
		client, err := git.New(git.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		_, got, err := read(t.Context(), client, remote, ref)
		if err != nil {
			t.Fatalf("%s: %v", c.reason, err)
		}
		for name, want := range c.files {
			if got[name] != want {
				t.Errorf("%s: file %s has %d bytes, want %d", c.reason, name, len(got[name]), len(want))
			}
		}
		// the next pass waits for the mirror, so what is written behind this one is there
		if _, again, err := read(t.Context(), client, remote, ref); err != nil || !cmp.Equal(got, again) {
			t.Errorf("%s: read again: %d and %d files, %v", c.reason, len(got), len(again), err)
		}
		server.Bytes()
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		fresh, err := git.New(git.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if _, kept, err := read(t.Context(), fresh, remote, ref); err != nil || !cmp.Equal(got, kept) {
			t.Errorf("%s: read from disk: %d and %d files, %v", c.reason, len(got), len(kept), err)
		}
		if n := server.Bytes(); n > 10_000 {
			t.Errorf("%s: reading from disk brought %d bytes", c.reason, n)
		}
		if err := fresh.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := looseObjects(t, dir); n > 1 {
		t.Errorf("the mirror has %d loose objects, want at most the one that is too large for memory", n)
	}
}

func many(content string, n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("app-%d", i)] = fmt.Sprintf("%s %d", content, i)
	}
	return files
}

func looseObjects(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && len(filepath.Base(filepath.Dir(path))) == 2 {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
