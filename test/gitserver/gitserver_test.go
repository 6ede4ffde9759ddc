package gitserver

import (
	"encoding/base64"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// client runs the git command the way a user would, with settings of its own.
type client struct {
	dir string
	env []string
}

func newClient(t *testing.T, settings ...string) client {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatalf("the git command is needed: %v", err)
	}
	return client{dir: t.TempDir(), env: append(environment(), append([]string{"GIT_TERMINAL_PROMPT=0"}, settings...)...)}
}

func (c client) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	output, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

func (c client) must(t *testing.T, args ...string) string {
	t.Helper()
	output, err := c.run(t, args...)
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return output
}

func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// header returns the settings that make git send a header with every request.
func header(value string) []string {
	return []string{"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: " + value}
}

func basic(username, password string) []string {
	return header("Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password)))
}

func TestCloneOverHTTP(t *testing.T) {
	store := NewStoreT(t)
	repo := store.NewRepoT(t, "team/apps", map[string]string{"a/app.yaml": "kind: ConfigMap\n"})
	open := store.ServeHTTPT(t, HTTPOptions{})
	locked := store.ServeHTTPT(t, HTTPOptions{Username: "ada", Password: "secret", BearerToken: "token"})
	secure := store.ServeHTTPT(t, HTTPOptions{TLS: true})
	for _, tc := range []struct {
		reason   string
		server   *HTTPServer
		settings []string
		refused  string
	}{
		{reason: "an open server asks for nothing", server: open},
		{reason: "the right password is let in", server: locked, settings: basic("ada", "secret")},
		{reason: "the right token is let in", server: locked, settings: header("Bearer token")},
		{reason: "nobody is let in without credentials", server: locked, refused: "could not read Username"},
		{reason: "a wrong password is refused", server: locked, settings: basic("ada", "guess"), refused: "could not read Username"},
		{reason: "a wrong token is refused", server: locked, settings: header("Bearer guess"), refused: "could not read Username"},
		{reason: "the authority makes the certificate good", server: secure, settings: []string{"GIT_SSL_CAINFO=" + write(t, secure.CA)}},
		{reason: "without the authority the certificate is refused", server: secure, refused: "certificate"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			c := newClient(t, tc.settings...)
			output, err := c.run(t, "clone", "--quiet", tc.server.URL(repo), "work")
			if tc.refused != "" {
				if err == nil || !strings.Contains(output, tc.refused) {
					t.Errorf("clone ended with %v and %q, want a refusal with %q", err, output, tc.refused)
				}
				return
			}
			if err != nil {
				t.Fatalf("clone: %v\n%s", err, output)
			}
			if got := c.must(t, "-C", "work", "show", "HEAD:a/app.yaml"); got != "kind: ConfigMap" {
				t.Errorf("cloned file holds %q", got)
			}
		})
	}
}

func TestCloneOverSSH(t *testing.T) {
	store := NewStoreT(t)
	repo := store.NewRepoT(t, "apps", map[string]string{"app.yaml": "kind: ConfigMap\n"})
	server, other := store.ServeSSHT(t), store.ServeSSHT(t)
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Fatalf("the ssh command is needed: %v", err)
	}
	for _, tc := range []struct {
		reason     string
		key        []byte
		knownHosts []byte
		refused    string
	}{
		{"the server's client key is let in", server.ClientKey, server.KnownHosts, ""},
		{"another key is refused", other.ClientKey, server.KnownHosts, "Permission denied"},
		{"an unknown host is not trusted", server.ClientKey, nil, "Host key verification failed"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			command := "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes" +
				" -o GlobalKnownHostsFile=/dev/null -o UserKnownHostsFile=" + write(t, tc.knownHosts) + " -i " + write(t, tc.key)
			c := newClient(t, "GIT_SSH_COMMAND="+command)
			output, err := c.run(t, "clone", "--quiet", server.URL(repo), "work")
			if tc.refused != "" {
				if err == nil || !strings.Contains(output, tc.refused) {
					t.Errorf("clone ended with %v and %q, want a refusal with %q", err, output, tc.refused)
				}
				return
			}
			if err != nil {
				t.Fatalf("clone: %v\n%s", err, output)
			}
			if got := c.must(t, "-C", "work", "show", "HEAD:app.yaml"); got != "kind: ConfigMap" {
				t.Errorf("cloned file holds %q", got)
			}
			before := store.Counts(repo.Name)
			c.must(t, "ls-remote", server.URL(repo))
			after := store.Counts(repo.Name)
			want := Counts{Visits: before.Visits + 1, Fetches: before.Fetches}
			if diff := cmp.Diff(want, after); diff != "" {
				t.Errorf("listing references counted as more than a visit (-want +got):\n%s", diff)
			}
			if before.Fetches == 0 {
				t.Error("the clone was not counted as a fetch")
			}
		})
	}
}

func TestListingReferencesIsNoFetch(t *testing.T) {
	store := NewStoreT(t)
	repo := store.NewRepoT(t, "apps", map[string]string{"app.yaml": "kind: ConfigMap\n"})
	server := store.ServeHTTPT(t, HTTPOptions{})
	for _, version := range []string{"0", "2"} {
		t.Run("protocol version "+version, func(t *testing.T) {
			c := newClient(t)
			before := store.Counts(repo.Name)
			c.must(t, "-c", "protocol.version="+version, "ls-remote", server.URL(repo))
			listed := store.Counts(repo.Name)
			if diff := cmp.Diff(Counts{Visits: before.Visits + 1, Fetches: before.Fetches}, listed); diff != "" {
				t.Errorf("after ls-remote (-want +got):\n%s", diff)
			}
			c.must(t, "-c", "protocol.version="+version, "clone", "--quiet", server.URL(repo), "work")
			if cloned := store.Counts(repo.Name); cloned.Fetches <= listed.Fetches {
				t.Errorf("clone counted no fetch: %+v", cloned)
			}
		})
	}
}

func TestPush(t *testing.T) {
	store := NewStoreT(t)
	repo := store.NewRepoT(t, "team/apps", map[string]string{"a.yaml": "a"})
	pushed := make(chan string, 1)
	closed := store.ServeHTTPT(t, HTTPOptions{})
	open := store.ServeHTTPT(t, HTTPOptions{Pushed: func(repo string) { pushed <- repo }})
	c := newClient(t)
	c.must(t, "clone", "--quiet", open.URL(repo), "work")
	c.must(t, "-C", "work", "commit", "--quiet", "--allow-empty", "--message=more")
	if output, err := c.run(t, "-C", "work", "push", closed.URL(repo)); err == nil || !strings.Contains(output, "403") {
		t.Errorf("a server that takes no pushes answered %q, %v", output, err)
	}
	c.must(t, "-C", "work", "push", "--quiet")
	if got := <-pushed; got != repo.Name {
		t.Errorf("a push to %q was told", got)
	}
	head, err := repo.Head(t.Context(), DefaultBranch)
	if want := c.must(t, "-C", "work", "rev-parse", "HEAD"); err != nil || head != want {
		t.Errorf("the branch is at %s, want %s: %v", head, want, err)
	}
}

func TestHistory(t *testing.T) {
	ctx := t.Context()
	store := NewStoreT(t)
	repo := store.NewRepoT(t, "apps", map[string]string{"a.yaml": "a", "b.yaml": "b"})
	first, err := repo.Head(ctx, DefaultBranch)
	if err != nil {
		t.Fatal(err)
	}
	annotated, err := repo.AnnotatedTag(ctx, "v1.0.0", first, "release")
	if err != nil {
		t.Fatal(err)
	}
	second, err := repo.Delete(ctx, DefaultBranch, "remove b", "b.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Delete(ctx, DefaultBranch, "remove again", "b.yaml"); err == nil {
		t.Error("deleting a file that is not there was no error")
	}
	third, err := repo.Symlink(ctx, DefaultBranch, "link", "link", "../outside")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		repo.Branch(ctx, "stable", second), repo.Tag(ctx, "light", second),
		repo.SetRef(ctx, "refs/pull/1/head", first), repo.Branch(ctx, "old", first), repo.DeleteRef(ctx, "refs/heads/old"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := newClient(t)
	url := store.ServeHTTPT(t, HTTPOptions{}).URL(repo)
	want := strings.Join([]string{
		third + "\tHEAD", third + "\trefs/heads/main", second + "\trefs/heads/stable", first + "\trefs/pull/1/head",
		second + "\trefs/tags/light", annotated + "\trefs/tags/v1.0.0", first + "\trefs/tags/v1.0.0^{}",
	}, "\n")
	if diff := cmp.Diff(want, c.must(t, "ls-remote", url)); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
	c.must(t, "clone", "--quiet", url, "work")
	if diff := cmp.Diff("a.yaml\nlink", c.must(t, "-C", "work", "ls-files")); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestFaults(t *testing.T) {
	store := NewStoreT(t)
	repo := store.NewRepoT(t, "apps", map[string]string{"a.yaml": "a"})
	server := store.ServeHTTPT(t, HTTPOptions{})
	c := newClient(t)
	server.Fail(http.StatusBadGateway)
	if output, err := c.run(t, "ls-remote", server.URL(repo)); err == nil || !strings.Contains(output, "502") {
		t.Errorf("a failing server answered %q, %v", output, err)
	}
	server.Fail(0)
	c.must(t, "ls-remote", server.URL(repo))
	if _, err := store.NewRepo(t.Context(), "../outside"); err == nil {
		t.Error("a repository outside the store was made")
	}
}
