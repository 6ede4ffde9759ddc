// Package gittest serves real Git repositories to tests, over HTTP and over SSH,
// with Git's own programs, and counts the requests.
package gittest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Repo is a bare repository and a work tree that pushes to it.
type Repo struct {
	t    testing.TB
	root string
	name string
	work string
}

// NewRepo creates an empty repository name under root, without a commit.
func NewRepo(t testing.TB, root, name string) *Repo {
	t.Helper()
	return newRepo(t, root, name, "sha1")
}

// NewSHA256Repo creates an empty repository whose objects are named by SHA-256.
func NewSHA256Repo(t testing.TB, root, name string) *Repo {
	t.Helper()
	return newRepo(t, root, name, "sha256")
}

func newRepo(t testing.TB, root, name, format string) *Repo {
	t.Helper()
	r := &Repo{t: t, root: root, name: name, work: t.TempDir()}
	r.run(root, "init", "--quiet", "--bare", "--initial-branch=main", "--object-format="+format, filepath.Join(root, name))
	r.run(filepath.Join(root, name), "config", "http.receivepack", "true")
	r.run(r.work, "init", "--quiet", "--initial-branch=main", "--object-format="+format)
	r.run(r.work, "remote", "add", "origin", filepath.Join(root, name))
	return r
}

// Dir is the bare repository's folder.
func (r *Repo) Dir() string { return filepath.Join(r.root, r.name) }

// Write puts files into the work tree; a name that ends in ! is made executable.
func (r *Repo) Write(files map[string]string) {
	r.t.Helper()
	for name, content := range files {
		mode := os.FileMode(0o644)
		if plain, ok := strings.CutSuffix(name, "!"); ok {
			name, mode = plain, 0o755
		}
		path := filepath.Join(r.work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			r.t.Fatal(err)
		}
	}
}

// Commit writes files, commits everything and pushes branch; it returns the hash.
func (r *Repo) Commit(branch, message string, files map[string]string) string {
	r.t.Helper()
	r.Write(files)
	r.Git("checkout", "--quiet", "-B", branch)
	r.Git("add", "--all")
	r.Git("commit", "--quiet", "--allow-empty", "-m", message)
	r.Git("push", "--quiet", "--force", "origin", branch)
	return r.Git("rev-parse", "HEAD")
}

// Tag tags the newest commit and pushes the tag; message makes it annotated.
func (r *Repo) Tag(name, message string) {
	r.t.Helper()
	if message == "" {
		r.Git("tag", "--force", name)
	} else {
		r.Git("tag", "--force", "-a", name, "-m", message)
	}
	r.Git("push", "--quiet", "--force", "origin", "refs/tags/"+name)
}

// AddSubmodule adds the repository at a URL, which may be relative, as a submodule.
func (r *Repo) AddSubmodule(url, path string) {
	r.t.Helper()
	r.Git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, path)
}

// Pin makes a submodule stand for another commit.
func (r *Repo) Pin(path, hash string) {
	r.t.Helper()
	r.Git("-C", path, "fetch", "--quiet")
	r.Git("-C", path, "checkout", "--quiet", hash)
}

// Git runs git in the work tree and returns its output.
func (r *Repo) Git(args ...string) string {
	r.t.Helper()
	return r.run(r.work, args...)
}

func (r *Repo) run(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// environment keeps the machine's own Git configuration out.
func environment() []string {
	return append(os.Environ(),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Test", "GIT_AUTHOR_EMAIL=test@example.com",
		"GIT_COMMITTER_NAME=Test", "GIT_COMMITTER_EMAIL=test@example.com",
	)
}
