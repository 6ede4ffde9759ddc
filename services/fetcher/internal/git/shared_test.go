package git_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// open opens the newest commit of a branch within a time.
func open(t *testing.T, client *git.Client, remote git.Remote, branch string, within time.Duration) (*git.Commit, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	listing, err := client.Connect(ctx, remote)
	if err != nil {
		return nil, err
	}
	defer listing.Close()
	target, err := listing.Resolve(ctx, git.Reference{Branch: branch})
	if err != nil {
		return nil, err
	}
	return listing.Fetch(ctx, target)
}

// content reads a file of a commit.
func content(t *testing.T, commit *git.Commit, path string) string {
	t.Helper()
	files, err := commit.Files(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Path != path {
			continue
		}
		_, r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	t.Fatalf("%s is not in the commit", path)
	return ""
}

const soon = 10 * time.Second

// Who reads a commit for long keeps nobody from reading it too, from fetching the next
// one, or from giving up the mirror as broken.
func TestReadersOfAMirror(t *testing.T) {
	root := t.TempDir()
	repo := gittest.NewRepo(t, root, "repo")
	repo.Commit("main", "first", map[string]string{"a": "1"})
	server := gittest.ServeHTTP(t, root, false, nil)
	client, _ := newClient(t)
	remote := git.Remote{URL: server.URL + "/repo"}
	first, err := open(t, client, remote, "main", soon)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	same, err := open(t, client, remote, "main", soon)
	if err != nil {
		t.Fatalf("a second reader: %v", err)
	}
	repo.Commit("main", "second", map[string]string{"a": "2"})
	second, err := open(t, client, remote, "main", soon)
	if err != nil {
		t.Fatalf("a fetch beside readers: %v", err)
	}
	defer second.Close()
	if err := same.Discard(); err != nil {
		t.Fatal(err)
	}
	same.Close()
	again, err := open(t, client, remote, "main", soon)
	if err != nil {
		t.Fatalf("after the mirror was given up: %v", err)
	}
	defer again.Close()
	for _, c := range []struct {
		commit *git.Commit
		want   string
	}{{first, "1"}, {second, "2"}, {again, "2"}} {
		if got := content(t, c.commit, "a"); got != c.want {
			t.Errorf("commit %s has %q, want %q", c.commit.Hash, got, c.want)
		}
	}
}

// A submodule whose server does not answer holds up who wants it, and nobody else.
func TestHangingSubmodule(t *testing.T) {
	root, other := t.TempDir(), t.TempDir()
	inner := gittest.NewRepo(t, other, "inner").Commit("main", "first", map[string]string{"b": "1"})
	hanging := gittest.ServeHTTP(t, other, false, nil)
	repo := gittest.NewRepo(t, root, "repo")
	repo.Commit("main", "first", map[string]string{
		".gitmodules": "[submodule \"inner\"]\n\tpath = inner\n\turl = " + hanging.URL + "/inner\n",
	})
	repo.Git("update-index", "--add", "--cacheinfo", "160000,"+inner+",inner")
	repo.Git("commit", "--quiet", "--message", "with a submodule")
	repo.Git("push", "--quiet", "origin", "main")
	server := gittest.ServeHTTP(t, root, false, nil)
	client, _ := newClient(t)
	remote := git.Remote{URL: server.URL + "/repo"}
	hanging.Hold()
	outer, err := open(t, client, remote, "main", soon)
	if err != nil {
		t.Fatal(err)
	}
	files, err := outer.Files(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		defer outer.Close()
		_, err := outer.Recurse(ctx, files, 100, func(string) error { return nil })
		ended <- err
	}()
	repo.Commit("main", "second", map[string]string{"a": "2"})
	commit, err := open(t, client, remote, "main", soon)
	if err != nil {
		t.Errorf("a fetch beside a submodule that hangs: %v", err)
	} else {
		commit.Close()
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the submodule ended with %v", err)
	}
}

// A listing and a download that hang, of one who may wait for long, are taken over by who
// may not.
func TestHangingLeader(t *testing.T) {
	for name, hold := range map[string]func(*gittest.Server, *git.Client, git.Remote) (hung <-chan error){
		"in the listing": func(server *gittest.Server, client *git.Client, remote git.Remote) <-chan error {
			server.Hold()
			return hang(t, server, client, remote)
		},
		"in the download": func(server *gittest.Server, client *git.Client, remote git.Remote) <-chan error {
			server.HoldDownloads()
			return hang(t, server, client, remote)
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			gittest.NewRepo(t, root, "repo").Commit("main", "first", map[string]string{"a": "1"})
			server := gittest.ServeHTTP(t, root, false, nil)
			client, _ := newClient(t)
			remote := git.Remote{URL: server.URL + "/repo"}
			hung := hold(server, client, remote)
			server.Pass() // what comes from now on is answered
			commit, err := open(t, client, remote, "main", soon)
			if err != nil {
				t.Fatalf("behind one that hangs: %v", err)
			}
			commit.Close()
			server.Release()
			if err := <-hung; err != nil {
				t.Errorf("the one that hung: %v", err)
			}
		})
	}
}

// hang opens a commit, and returns once the server holds the request.
func hang(t *testing.T, server *gittest.Server, client *git.Client, remote git.Remote) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		commit, err := open(t, client, remote, "main", time.Minute)
		if err == nil {
			commit.Close()
		}
		ended <- err
	}()
	select {
	case <-server.Held():
	case err := <-ended:
		t.Fatalf("nothing hangs: %v", err)
	}
	return ended
}
