package gitrepository

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// fetch makes the first half of a pass, with a client of its own.
func fetch(ctx context.Context, t *testing.T, dir string, o *sourcev1.GitRepository) (*git.Client, error) {
	t.Helper()
	client, err := git.New(git.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	k := New(client, nil, Config{Limits: pack.Limits{Entries: 100, Bytes: 1 << 20}})
	upstream, err := k.Open(ctx, events.NewKey(k.Name(), "ns", "x"), o)
	if err != nil {
		t.Fatal(err)
	}
	content, err := upstream.Fetch(ctx)
	if err == nil {
		content.Close()
	}
	return client, errors.Join(err, upstream.Close())
}

func ofBranch(url string) *sourcev1.GitRepository {
	return &sourcev1.GitRepository{Spec: sourcev1.GitRepositorySpec{URL: url, Reference: &sourcev1.GitRepositoryRef{Branch: "main"}}}
}

// A mirror that is found broken while its files are read is given up, and goes.
func TestBrokenMirrorGoes(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	repo := gittest.NewRepo(t, root, "repo")
	repo.Commit("main", "first", map[string]string{".sourceignore": "x", "a": "1"})
	server := gittest.ServeHTTP(t, root, false, nil)
	o := ofBranch(server.URL + "/repo")
	client, err := fetch(t.Context(), t, dir, o)
	if err = errors.Join(err, client.Close()); err != nil {
		t.Fatal(err)
	}
	lose(t, dir, repo.Dir(), "main:.sourceignore")
	client, err = fetch(t.Context(), t, dir, o)
	if err == nil || !strings.Contains(err.Error(), "mirror is broken") {
		t.Errorf("got %v, want that the mirror is broken", err)
	}
	if mirrors, err := filepath.Glob(filepath.Join(dir, "*.git")); err != nil || len(mirrors) > 0 {
		t.Errorf("%q stays, %v", mirrors, err)
	}
	if err := errors.Join(client.Trim(time.Now()), client.Close()); err != nil {
		t.Error(err)
	}
	client, err = fetch(t.Context(), t, dir, o)
	if err = errors.Join(err, client.Close()); err != nil {
		t.Errorf("then: %v", err)
	}
}

// lose takes an object of a repository out of its one mirror.
func lose(t *testing.T, dir, repo, object string) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(dir, "*.git", "objects", "pack", "*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("want one pack, got %q, %v", packs, err)
	}
	objects := strings.TrimSuffix(filepath.Dir(packs[0]), "/pack")
	loose := t.TempDir()
	run := func(args ...string) string {
		content, err := os.Open(packs[0])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = content.Close() }() // it was only read
		cmd := exec.Command("git", args...)
		cmd.Stdin = content
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("init", "--quiet", "--bare", loose)
	run("-C", loose, "unpack-objects", "-q")
	hash := run("-C", repo, "rev-parse", object)
	if err := errors.Join(
		os.Remove(filepath.Join(loose, "objects", hash[:2], hash[2:])), os.RemoveAll(objects), os.Rename(filepath.Join(loose, "objects"), objects),
	); err != nil {
		t.Fatal(err)
	}
}

// The hosts of submodules are asked as that of the repository is: when it is their turn.
func TestSubmodulesAreAskedInTurn(t *testing.T) {
	root, other := t.TempDir(), t.TempDir()
	server, shown := gittest.ServeHTTP(t, root, false, nil), gittest.ServeHTTP(t, other, false, nil)
	gittest.NewRepo(t, other, "inner").Commit("main", "first", map[string]string{"b": "1"})
	repo := gittest.NewRepo(t, root, "repo")
	repo.Commit("main", "first", map[string]string{"a": "1"})
	repo.AddSubmodule(shown.URL+"/inner", "inner")
	repo.Commit("main", "with a submodule", nil)
	o := ofBranch(server.URL + "/repo")
	o.Spec.RecurseSubmodules = true
	shown.Requests()
	var asked []string
	turn := false
	ctx := source.Asking(t.Context(), func(host, road string) error {
		asked = append(asked, host+" "+road)
		if !turn {
			return &source.LaterError{Host: host, Wait: time.Second}
		}
		return nil
	})
	dir := t.TempDir()
	for _, turn = range []bool{false, true} {
		client, err := fetch(ctx, t, dir, o)
		var later *source.LaterError
		if errors.As(err, &later) == turn || turn && err != nil {
			t.Errorf("its turn %t: %v", turn, err)
		}
		if sent := shown.Requests(); (len(sent) > 0) != turn {
			t.Errorf("its turn %t: %q was sent", turn, sent)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	k := Kind{}
	if want := source.HostOf(shown.URL) + " " + k.State(o).Road; !slices.Equal(asked, []string{want, want}) {
		t.Errorf("asked %q, want %q twice", asked, want)
	}
}

// Ignore rules that cannot be taken are told as such.
func TestIgnoreRulesThatAreTooMany(t *testing.T) {
	root := t.TempDir()
	gittest.NewRepo(t, root, "repo").Commit("main", "first", map[string]string{".sourceignore": strings.Repeat("x\n", 10_001), "a": "1"})
	_, err := fetch(t.Context(), t, t.TempDir(), ofBranch(gittest.ServeHTTP(t, root, false, nil).URL+"/repo"))
	var failure *source.Error
	if !errors.As(err, &failure) || failure.Condition != sourcev1.StorageOperationFailedCondition || failure.Reason != "SourceIgnoreError" ||
		!strings.Contains(err.Error(), "there are more than 10000 ignore rules together") {
		t.Errorf("got %+v: %v", failure, err)
	}
}
