package git_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

func newClient(t testing.TB) (*git.Client, string) {
	t.Helper()
	dir := t.TempDir()
	c, err := git.New(git.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, dir
}

// read makes one pass and returns the revision and the files.
func read(ctx context.Context, c *git.Client, remote git.Remote, ref git.Reference) (string, map[string]string, error) {
	l, err := c.Connect(ctx, remote)
	if err != nil {
		return "", nil, err
	}
	defer l.Close()
	target, err := l.Resolve(ctx, ref)
	if err != nil {
		return "", nil, err
	}
	commit, err := l.Fetch(ctx, target)
	if err != nil {
		return target.Revision, nil, err
	}
	defer commit.Close()
	files, err := commit.Files(ctx, 10_000)
	if err != nil {
		return target.Revision, nil, err
	}
	content := map[string]string{}
	for _, f := range files {
		if f.Dir {
			content[f.Path+"/"] = ""
			continue
		}
		size, r, err := f.Open()
		if err != nil {
			return "", nil, err
		}
		body, err := io.ReadAll(r)
		_ = r.Close()
		if err != nil || int64(len(body)) != size {
			return "", nil, fmt.Errorf("read %s: %d of %d bytes: %w", f.Path, len(body), size, err)
		}
		content[f.Path] = string(body)
	}
	return target.Revision, content, nil
}

func TestReferences(t *testing.T) {
	root := t.TempDir()
	repo := gittest.NewRepo(t, root, "repo")
	first := repo.Commit("master", "first", map[string]string{"a.yaml": "1", "dir/b.yaml": "2"})
	repo.Tag("v1.0.0", "release")
	repo.Tag("v0.1.0", "")
	second := repo.Commit("master", "second", map[string]string{"a.yaml": "3"})
	repo.Tag("v2.0.0", "")
	repo.Tag("v3.0.0-rc.1", "")
	other := repo.Commit("other", "other", map[string]string{"c.yaml": "4"})
	repo.Git("push", "--quiet", "origin", "HEAD:refs/pull/420/head")
	server := gittest.ServeHTTP(t, root, false, nil)
	client, _ := newClient(t)

	one := map[string]string{"a.yaml": "1", "dir/": "", "dir/b.yaml": "2"}
	two := map[string]string{"a.yaml": "3", "dir/": "", "dir/b.yaml": "2"}
	three := map[string]string{"a.yaml": "3", "c.yaml": "4", "dir/": "", "dir/b.yaml": "2"}
	for reason, c := range map[string]struct {
		ref      git.Reference
		revision string
		files    map[string]string
		err      string
	}{
		"none means branch master":           {git.Reference{}, "master@sha1:" + second, two, ""},
		"branch":                             {git.Reference{Branch: "other"}, "other@sha1:" + other, three, ""},
		"annotated tag is peeled":            {git.Reference{Tag: "v1.0.0"}, "v1.0.0@sha1:" + first, one, ""},
		"light tag":                          {git.Reference{Tag: "v0.1.0"}, "v0.1.0@sha1:" + first, one, ""},
		"tag beats semver and branch":        {git.Reference{Tag: "v0.1.0", SemVer: "*", Branch: "other"}, "v0.1.0@sha1:" + first, one, ""},
		"semver beats branch, no prerelease": {git.Reference{SemVer: "*", Branch: "other"}, "v2.0.0@sha1:" + second, two, ""},
		"semver range":                       {git.Reference{SemVer: "<1.0.0"}, "v0.1.0@sha1:" + first, one, ""},
		"semver below a bound with a v":      {git.Reference{SemVer: "<v2.0.0"}, "v1.0.0@sha1:" + first, one, ""},
		"semver with prereleases in bounds":  {git.Reference{SemVer: ">=2.9.0-0 <3.1.0-0"}, "v3.0.0-rc.1@sha1:" + second, two, ""},
		"semver with prerelease":             {git.Reference{SemVer: ">=3.0.0-0"}, "v3.0.0-rc.1@sha1:" + second, two, ""},
		"name of a branch":                   {git.Reference{Name: "refs/heads/other", Tag: "v1.0.0"}, "refs/heads/other@sha1:" + other, three, ""},
		"name of a pull request":             {git.Reference{Name: "refs/pull/420/head"}, "refs/pull/420/head@sha1:" + other, three, ""},
		"commit":                             {git.Reference{Commit: first, Name: "refs/heads/other"}, "sha1:" + first, one, ""},
		"commit of a branch":                 {git.Reference{Commit: first, Branch: "other"}, "other@sha1:" + first, one, ""},
		"commit not on the branch":           {git.Reference{Commit: other, Branch: "master"}, "master@sha1:" + other, nil, "is not in the history"},
		"commit that does not exist":         {git.Reference{Commit: strings.Repeat("1", 40)}, "sha1:" + strings.Repeat("1", 40), nil, "is not in the history"},
		"short commit":                       {git.Reference{Commit: first[:8]}, "", nil, "not a full hash"},
		"missing branch":                     {git.Reference{Branch: "none"}, "", nil, `couldn't find remote ref "refs/heads/none"`},
		"missing tag":                        {git.Reference{Tag: "none"}, "", nil, `couldn't find remote ref "refs/tags/none"`},
		"semver without a match":             {git.Reference{SemVer: ">9"}, "", nil, "no match found for semver: >9"},
		"semver that is none":                {git.Reference{SemVer: "a.b"}, "", nil, "semver parse error"},
	} {
		t.Run(reason, func(t *testing.T) {
			revision, files, err := read(t.Context(), client, git.Remote{URL: server.URL + "/repo"}, c.ref)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("want error %q, got %v", c.err, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.revision, revision) + cmp.Diff(c.files, files); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTagsOfOneVersionAreToldApartByAge(t *testing.T) {
	root := t.TempDir()
	repo := gittest.NewRepo(t, root, "repo")
	repo.Commit("main", "old", map[string]string{"a": "1"})
	repo.Git("tag", "v1.0.0")
	repo.Git("commit", "--quiet", "--allow-empty", "--date=2040-01-01T00:00:00Z", "-m", "new")
	t.Setenv("GIT_COMMITTER_DATE", "2040-01-01T00:00:00Z")
	repo.Git("commit", "--quiet", "--amend", "--allow-empty", "-m", "newer")
	repo.Git("tag", "1.0.0")
	repo.Git("push", "--quiet", "origin", "--tags")
	server := gittest.ServeHTTP(t, root, false, nil)
	client, _ := newClient(t)
	revision, _, err := read(t.Context(), client, git.Remote{URL: server.URL + "/repo"}, git.Reference{SemVer: "1.x"})
	if want := "1.0.0@sha1:" + repo.Git("rev-parse", "HEAD"); err != nil || revision != want {
		t.Errorf("got %s, %v, want %s", revision, err, want)
	}
}

func TestMirrorCostsAnIncrement(t *testing.T) {
	root := t.TempDir()
	repo := gittest.NewRepo(t, root, "repo")
	files := map[string]string{}
	for i := range 400 {
		files[fmt.Sprintf("apps/%03d/values.yaml", i)] = strings.Repeat(fmt.Sprintf("value %d %x\n", i, i*7919), 20)
	}
	repo.Commit("main", "all", files)
	server := gittest.ServeHTTP(t, root, false, nil)
	client, dir := newClient(t)
	remote, ref := git.Remote{URL: server.URL + "/repo"}, git.Reference{Branch: "main"}
	if _, _, err := read(t.Context(), client, remote, ref); err != nil {
		t.Fatal(err)
	}
	full := server.Bytes()
	if got := server.Requests(); len(got) != 2 {
		t.Errorf("first pass sent %q", got)
	}

	if _, _, err := read(t.Context(), client, remote, ref); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"GET /repo/info/refs"}, server.Requests()); diff != "" {
		t.Errorf("a pass without change: %s", diff)
	}
	server.Bytes()

	steps := map[string]func(){
		"a commit on top": func() { repo.Commit("main", "one", map[string]string{"apps/001/values.yaml": "changed"}) },
		"rewritten history": func() {
			repo.Git("checkout", "--quiet", "--orphan", "fresh")
			repo.Git("branch", "-D", "main")
			repo.Commit("main", "fresh", map[string]string{"apps/002/values.yaml": "changed too"})
		},
		"several commits": func() {
			repo.Commit("main", "a", map[string]string{"new/a": "1"})
			repo.Commit("main", "b", map[string]string{"new/b": "2"})
		},
	}
	for _, name := range []string{"a commit on top", "rewritten history", "several commits"} {
		steps[name]()
		server.Requests()
		server.Bytes()
		_, got, err := read(t.Context(), client, remote, ref)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(got) < 800 || got["apps/001/values.yaml"] != "changed" {
			t.Errorf("%s: got %d entries", name, len(got))
		}
		if n := server.Bytes(); n > full/3 {
			t.Errorf("%s took %d bytes, the first pass %d", name, n, full)
		}
		if got := server.Requests(); len(got) != 2 {
			t.Errorf("%s: sent %q", name, got)
		}
	}

	damageMirror(t, dir)
	client2, err := git.New(git.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := read(t.Context(), client2, remote, ref); err != nil || len(got) < 800 {
		t.Errorf("damaged mirror: %d entries, %v", len(got), err)
	}
}

// damageMirror deletes every object, but not the record of what is complete.
func damageMirror(t *testing.T, dir string) {
	t.Helper()
	mirrors, err := filepath.Glob(filepath.Join(dir, "*.git"))
	if err != nil || len(mirrors) != 1 {
		t.Fatalf("want one mirror, got %q, %v", mirrors, err)
	}
	if err := os.RemoveAll(filepath.Join(mirrors[0], "objects")); err != nil {
		t.Fatal(err)
	}
}

func TestAuth(t *testing.T) {
	root := t.TempDir()
	repo := gittest.NewRepo(t, root, "repo")
	repo.Commit("main", "first", map[string]string{"a": "1"})
	plain := gittest.ServeHTTP(t, root, false, gittest.Basic("user", "pass word/1"))
	secure := gittest.ServeHTTP(t, root, true, gittest.Basic("user", "pass word/1"))
	token := gittest.ServeHTTP(t, root, false, gittest.Bearer("tok3n-value"))
	open := gittest.ServeSSH(t, root, "")
	locked := gittest.ServeSSH(t, root, "open sesame")
	_, stranger := gittest.NewKey(t, "")
	basic := func(more map[string]string) map[string]string {
		data := map[string]string{"username": "user", "password": "pass word/1"}
		for k, v := range more {
			data[k] = v
		}
		return data
	}
	sshData := func(s *gittest.SSHServer, more map[string]string) map[string]string {
		data := map[string]string{"identity": string(s.Identity), "known_hosts": string(s.KnownHosts)}
		for k, v := range more {
			data[k] = v
		}
		return data
	}
	inURL := strings.Replace(secure.URL, "https://", "https://user:pass%20word%2F1@", 1)
	for reason, c := range map[string]struct {
		url  string
		data map[string]string
		err  string
	}{
		"basic over http":                {plain.URL, basic(nil), ""},
		"nothing where basic is needed":  {plain.URL, nil, "authentication required"},
		"wrong password":                 {plain.URL, map[string]string{"username": "user", "password": "wrong"}, "authentication required"},
		"password without user name":     {plain.URL, map[string]string{"password": "x"}, "requires 'username'"},
		"user name without password":     {plain.URL, map[string]string{"username": "x"}, "requires 'password'"},
		"bearer":                         {token.URL, map[string]string{"bearerToken": "tok3n-value"}, ""},
		"bearer and basic":               {token.URL, basic(map[string]string{"bearerToken": "x"}), "cannot be set at the same time"},
		"https with ca.crt":              {secure.URL, basic(map[string]string{"ca.crt": string(secure.CA)}), ""},
		"https with legacy caFile":       {secure.URL, basic(map[string]string{"caFile": string(secure.CA)}), ""},
		"ca.crt wins over caFile":        {secure.URL, basic(map[string]string{"ca.crt": string(secure.CA), "caFile": "junk"}), ""},
		"https with an unknown CA":       {secure.URL, basic(nil), "x509:"},
		"https with an invalid CA":       {secure.URL, basic(map[string]string{"ca.crt": "junk"}), "x509:"},
		"invalid client certificate":     {secure.URL, basic(map[string]string{"tls.crt": "junk", "tls.key": "junk"}), "tls: failed to find any PEM data"},
		"user information in the URL":    {inURL, map[string]string{"ca.crt": string(secure.CA)}, ""},
		"ssh":                            {open.URL, sshData(open, nil), ""},
		"ssh with passphrase":            {locked.URL, sshData(locked, map[string]string{"password": "open sesame"}), ""},
		"ssh without passphrase":         {locked.URL, sshData(locked, nil), "encrypted"},
		"ssh with the wrong passphrase":  {locked.URL, sshData(locked, map[string]string{"password": "wrong"}), "password incorrect"},
		"ssh without identity":           {open.URL, map[string]string{"known_hosts": "x"}, "'identity' is required"},
		"ssh without known_hosts":        {open.URL, map[string]string{"identity": string(open.Identity)}, "'known_hosts' is required"},
		"ssh with an empty secret":       {open.URL, nil, "'identity' is required"},
		"ssh with another host's key":    {open.URL, sshData(open, map[string]string{"known_hosts": string(locked.KnownHosts)}), "in secretRef has no line for"},
		"ssh with malformed known_hosts": {open.URL, sshData(open, map[string]string{"known_hosts": "a b c d"}), "known_hosts"},
		"ssh with a key nobody knows":    {open.URL, sshData(open, map[string]string{"identity": string(stranger)}), "unable to authenticate"},
	} {
		t.Run(reason, func(t *testing.T) {
			client, _ := newClient(t)
			data := map[string][]byte{}
			for k, v := range c.data {
				data[k] = []byte(v)
			}
			auth, err := git.ParseAuth(c.url+"/repo", data)
			if err == nil {
				_, _, err = read(t.Context(), client, git.Remote{URL: c.url + "/repo", Auth: auth}, git.Reference{Branch: "main"})
			}
			if c.err == "" && err != nil {
				t.Fatal(err)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Fatalf("want error %q, got %v", c.err, err)
			}
			if err != nil && strings.Contains(err.Error(), "pass") && strings.Contains(err.Error(), "word/1") {
				t.Errorf("the password is in %q", err)
			}
		})
	}
}

func TestParseURL(t *testing.T) {
	for _, c := range []struct{ reason, url, err string }{
		{"https", "https://example.org/team/apps.git", ""},
		{"ssh with a user", "ssh://git@example.org:2222/team/apps.git", ""},
		{"a dash inside a name is none", "ssh://git@my-host/-apps", ""},
		{"a host that a program could read as an option", "ssh://-oProxyCommand=gotcha/apps", "the host begins with '-'"},
		{"the same behind a user", "ssh://git@-oProxyCommand=gotcha/apps", "the host begins with '-'"},
		{"the same over https", "https://-oProxyCommand=gotcha/apps", "the host begins with '-'"},
		{"a user that a program could read as an option", "ssh://-oProxyCommand=gotcha@example.org/apps", "the user begins with '-'"},
		{"a scheme that runs programs", "ext::sh -c gotcha", "use http, https or ssh"},
		{"a file of the machine", "file:///etc", "use http, https or ssh"},
		{"no host", "ssh:///apps", "has no host"},
		{"no path", "https://example.org/", "has no path"},
		{"a line end", "ssh://example.org/apps%0A", "control characters"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			switch _, err := git.ParseURL(c.url); {
			case c.err == "" && err != nil:
				t.Error(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("want error %q, got %v", c.err, err)
			}
		})
	}
}

func TestEmptyRepository(t *testing.T) {
	root := t.TempDir()
	gittest.NewRepo(t, root, "repo")
	server := gittest.ServeHTTP(t, root, false, nil)
	shell := gittest.ServeSSH(t, root, "")
	client, _ := newClient(t)
	for _, remote := range []git.Remote{
		{URL: server.URL + "/repo"},
		{URL: shell.URL + "/repo", Auth: git.Auth{Identity: shell.Identity, KnownHosts: shell.KnownHosts}},
	} {
		if _, _, err := read(t.Context(), client, remote, git.Reference{}); !errors.Is(err, git.ErrEmpty) {
			t.Errorf("%s: got %v", remote.URL, err)
		}
	}
}

func TestMissingRepository(t *testing.T) {
	root := t.TempDir()
	server := gittest.ServeHTTP(t, root, false, nil)
	shell := gittest.ServeSSH(t, root, "")
	client, _ := newClient(t)
	for _, remote := range []git.Remote{
		{URL: server.URL + "/none"},
		{URL: shell.URL + "/none", Auth: git.Auth{Identity: shell.Identity, KnownHosts: shell.KnownHosts}},
	} {
		if _, _, err := read(t.Context(), client, remote, git.Reference{}); err == nil {
			t.Errorf("%s: no error", remote.URL)
		}
	}
}

func TestStalledServerEndsWithTheContext(t *testing.T) {
	root := t.TempDir()
	gittest.NewRepo(t, root, "repo").Commit("main", "first", map[string]string{"a": "1"})
	server := gittest.ServeHTTP(t, root, false, nil)
	server.Hold()
	client, _ := newClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, _, err := read(ctx, client, git.Remote{URL: server.URL + "/repo"}, git.Reference{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestPackLimit(t *testing.T) {
	root := t.TempDir()
	gittest.NewRepo(t, root, "repo").Commit("main", "first", map[string]string{"a": strings.Repeat("0123456789abcdef", 1<<10)})
	server := gittest.ServeHTTP(t, root, false, nil)
	client, err := git.New(git.Config{Dir: t.TempDir(), MaxPackBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = read(t.Context(), client, git.Remote{URL: server.URL + "/repo"}, git.Reference{Branch: "main"})
	if !errors.Is(err, git.ErrLimit) {
		t.Errorf("got %v", err)
	}
}

func TestTrimDeletesIdleMirrors(t *testing.T) {
	root := t.TempDir()
	gittest.NewRepo(t, root, "repo").Commit("main", "first", map[string]string{"a": "1"})
	server := gittest.ServeHTTP(t, root, false, nil)
	client, dir := newClient(t)
	remote, ref := git.Remote{URL: server.URL + "/repo"}, git.Reference{Branch: "main"}
	if _, _, err := read(t.Context(), client, remote, ref); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		left  int
	}{{time.Hour, 1}, {25 * time.Hour, 0}} {
		if err := client.Trim(time.Now().Add(c.after)); err != nil {
			t.Fatal(err)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*.git")); err != nil || len(left) != c.left {
			t.Errorf("after %s: %q, %v", c.after, left, err)
		}
	}
	if _, _, err := read(t.Context(), client, remote, ref); err != nil {
		t.Errorf("a trimmed mirror comes back: %v", err)
	}
}

// Folders that are nested too deep, and names that lead out of their folder, are refused.
func TestFoldersAreBounded(t *testing.T) {
	root := t.TempDir()
	repo := gittest.NewRepo(t, root, "deep")
	repo.Commit("main", "deep", map[string]string{strings.Repeat("d/", 101) + "file": "1"})
	repo.Git("push", "--quiet", "origin", "main:deep")
	repo.Git("rm", "-r", "--quiet", "d")
	repo.Commit("main", "within", map[string]string{strings.Repeat("d/", 100) + "file": "1"})
	server := gittest.ServeHTTP(t, root, false, nil)
	client, _ := newClient(t)
	remote := git.Remote{URL: server.URL + "/deep"}
	if _, _, err := read(t.Context(), client, remote, git.Reference{Branch: "deep"}); !errors.Is(err, git.ErrLimit) {
		t.Errorf("got %v, want that a limit is exceeded", err)
	}
	if _, files, err := read(t.Context(), client, remote, git.Reference{Branch: "main"}); err != nil || len(files) != 101 {
		t.Errorf("at the limit: %d files and folders, %v", len(files), err)
	}
}

// What a server says before a pack has an end, even if it has none.
func TestEndlessAnswers(t *testing.T) {
	line := func(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }
	const hash = "1234567890123456789012345678901234567890"
	listing := line("# service=git-upload-pack\n") + "0000" + line(hash+" refs/heads/main\x00shallow\n")
	for name, c := range map[string]struct{ refs, answer, forever string }{
		"references":      {refs: listing, forever: line(hash + " refs/heads/one-of-many\n")},
		"shallow commits": {refs: listing + "0000", forever: line("shallow " + hash)},
		"known commits":   {refs: listing + "0000", answer: "0000", forever: line("ACK " + hash + " common\n")},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			begin, more := c.refs, !strings.HasSuffix(c.refs, "0000")
			if r.Method == http.MethodPost {
				begin, more = c.answer, true
			}
			_, err := io.WriteString(w, begin)
			for pieces := strings.Repeat(c.forever, 1000); more && err == nil && r.Context().Err() == nil; {
				_, err = io.WriteString(w, pieces)
			}
		}))
		client, _ := newClient(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, _, err := read(ctx, client, git.Remote{URL: server.URL + "/repo"}, git.Reference{Branch: "main"})
		cancel()
		if !errors.Is(err, git.ErrLimit) {
			t.Errorf("%s: got %v, want that a limit is exceeded", name, err)
		}
		server.Close()
	}
}

// SSH uses the algorithms that are allowed, and no others.
func TestSSHAlgorithms(t *testing.T) {
	root := t.TempDir()
	gittest.NewRepo(t, root, "repo").Commit("main", "first", map[string]string{"a": "1"})
	shell := gittest.ServeSSH(t, root, "")
	auth, err := git.ParseAuth(shell.URL+"/repo", map[string][]byte{"identity": shell.Identity, "known_hosts": shell.KnownHosts})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config git.Config
		// unusable is what the client says of the settings, refused what it says of the server.
		unusable, refused string
	}{
		"what both know":                       {config: git.Config{KeyExchanges: []string{"curve25519-sha256"}, HostKeys: []string{"ssh-ed25519"}}},
		"an exchange that the server has not":  {config: git.Config{KeyExchanges: []string{"diffie-hellman-group1-sha1"}}, refused: "no common algorithm for key exchange"},
		"a host key that known_hosts has not":  {config: git.Config{HostKeys: []string{"ecdsa-sha2-nistp256"}}, refused: "ssh-hostkey-algos"},
		"an exchange that nobody has heard of": {config: git.Config{KeyExchanges: []string{"none-such"}}, unusable: `ssh-kex-algos: "none-such" is not known`},
		"a host key that nobody has heard of":  {config: git.Config{HostKeys: []string{"none-such"}}, unusable: `ssh-hostkey-algos: "none-such" is not known`},
	} {
		c.config.Dir = t.TempDir()
		client, err := git.New(c.config)
		if c.unusable != "" {
			if err == nil || !strings.Contains(err.Error(), c.unusable) {
				t.Errorf("%s: got %v, want %q", name, err, c.unusable)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = read(t.Context(), client, git.Remote{URL: shell.URL + "/repo", Auth: auth}, git.Reference{Branch: "main"})
		if c.refused == "" && err != nil || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s: got %v, want %q", name, err, c.refused)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

// spent is a context that ends after its end was asked for so often.
type spent struct {
	context.Context

	left int
}

func (s *spent) Err() error {
	if s.left--; s.left < 0 {
		return context.Canceled
	}
	return nil
}

// The files of a folder may be compared with many folders of a sparse checkout: that ends with the pass.
func TestFilesEndWithThePass(t *testing.T) {
	root := t.TempDir()
	gittest.NewRepo(t, root, "repo").Commit("main", "first", map[string]string{"a": "1", "b": "1", "c": "1", "d": "1"})
	server := gittest.ServeHTTP(t, root, false, nil)
	client, _ := newClient(t)
	l, err := client.Connect(t.Context(), git.Remote{URL: server.URL + "/repo"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	target, err := l.Resolve(t.Context(), git.Reference{Branch: "main"})
	if err != nil {
		t.Fatal(err)
	}
	commit, err := l.Fetch(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer commit.Close()
	if files, err := commit.Files(&spent{context.Background(), 2}, 100); !errors.Is(err, context.Canceled) {
		t.Errorf("got %d files, %v", len(files), err)
	}
}

// What is wrong with a URL is told without the login in it.
func TestURLsWithLogins(t *testing.T) {
	for _, location := range []string{
		"https://user:s3c/ret@host.example/repo", "https://user:s3c#ret@host.example/repo", "https://user:s3c%ret@host.example/repo", "https://user:s3c ret@host.example/repo", "ftp://user:s3cret@host.example/repo",
	} {
		if _, err := git.ParseURL(location); err == nil || strings.Contains(err.Error(), "s3c") || strings.Contains(err.Error(), "ret") {
			t.Errorf("%s: %v", location, err)
		}
	}
}
