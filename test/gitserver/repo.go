package gitserver

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

// DefaultBranch is the branch of a new repository.
const DefaultBranch = "main"

// Repo is one bare repository of a Store. Its methods may be called at the same time.
type Repo struct {
	// Name is the path under the server's address, without ".git".
	Name string

	folder string
	mu     sync.Mutex
}

// Commit puts files (content by slash-separated path) on top of a branch and returns
// the commit's hash. Files that are not named stay as they are; a branch that does not exist begins empty.
func (r *Repo) Commit(ctx context.Context, branch, message string, files map[string]string) (string, error) {
	var edits strings.Builder
	for _, path := range slices.Sorted(maps.Keys(files)) {
		edits.WriteString(put("100644", path, files[path]))
	}
	return r.commit(ctx, branch, message, edits.String())
}

// Symlink commits a symbolic link with the given target and returns the commit's hash.
func (r *Repo) Symlink(ctx context.Context, branch, message, path, target string) (string, error) {
	return r.commit(ctx, branch, message, put("120000", path, target))
}

// Delete removes files in a commit and returns its hash.
func (r *Repo) Delete(ctx context.Context, branch, message string, paths ...string) (string, error) {
	var edits strings.Builder
	for _, path := range paths {
		if _, err := r.git(ctx, "", "cat-file", "-e", "refs/heads/"+branch+":"+path); err != nil {
			return "", fmt.Errorf("delete %s: %w", path, err)
		}
		edits.WriteString("D " + path + "\n")
	}
	return r.commit(ctx, branch, message, edits.String())
}

// Branch makes a branch at a commit, or moves it there, forwards or not.
func (r *Repo) Branch(ctx context.Context, name, commit string) error {
	return r.SetRef(ctx, "refs/heads/"+name, commit)
}

// SetRef makes any reference, such as refs/pull/1/head, point to a commit.
func (r *Repo) SetRef(ctx context.Context, ref, commit string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.git(ctx, "", "update-ref", ref, commit)
	return err
}

// DeleteRef removes a reference, such as refs/heads/old.
func (r *Repo) DeleteRef(ctx context.Context, ref string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.git(ctx, "", "update-ref", "-d", ref)
	return err
}

// Tag makes a lightweight tag at a commit, or moves it there.
func (r *Repo) Tag(ctx context.Context, name, commit string) error {
	return r.SetRef(ctx, "refs/tags/"+name, commit)
}

// AnnotatedTag makes a tag object at a commit, or replaces it, and returns the tag object's hash.
func (r *Repo) AnnotatedTag(ctx context.Context, name, commit, message string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.git(ctx, message, "tag", "--force", "--annotate", "--file=-", name, commit); err != nil {
		return "", err
	}
	return r.git(ctx, "", "rev-parse", "refs/tags/"+name)
}

// Head returns the commit that a branch points to.
func (r *Repo) Head(ctx context.Context, branch string) (string, error) {
	return r.git(ctx, "", "rev-parse", "--verify", "refs/heads/"+branch)
}

// commit makes a commit in one run of git fast-import (git-fast-import(1) has the language of edits).
func (r *Repo) commit(ctx context.Context, branch, message, edits string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ref := "refs/heads/" + branch
	parent, err := r.git(ctx, "", "for-each-ref", "--format=%(objectname)", ref)
	if err != nil {
		return "", err
	}
	var stream strings.Builder
	fmt.Fprintf(&stream, "commit %s\ncommitter Ada <ada@example.com> now\n%s", ref, data(message))
	if parent != "" {
		fmt.Fprintf(&stream, "from %s\n", parent)
	}
	stream.WriteString(edits)
	if _, err := r.git(ctx, stream.String(), "fast-import", "--quiet", "--date-format=now"); err != nil {
		return "", err
	}
	return r.git(ctx, "", "rev-parse", "--verify", ref)
}

func put(mode, path, content string) string {
	return fmt.Sprintf("M %s inline %s\n%s", mode, path, data(content))
}

func data(content string) string { return fmt.Sprintf("data %d\n%s\n", len(content), content) }

func (r *Repo) git(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = r.folder
	cmd.Env = environment()
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s in %s: %w: %s", args[0], r.Name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(output)), nil
}

// environment keeps git away from this machine's configuration and gives commits an author.
func environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
	}
}
