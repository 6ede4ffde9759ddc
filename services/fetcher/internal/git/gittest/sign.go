package gittest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Signer makes signatures with Git's own programs.
type Signer struct {
	// Name is that of an entry of a Secret that would hold the key.
	Name string
	// Public is the public key, as such an entry holds it.
	Public []byte
	// ID is how a verified signature names the key.
	ID string

	flags []string
}

// NewSSHSigner makes an SSH key of a kind that ssh-keygen knows, such as ed25519.
func NewSSHSigner(t testing.TB, kind string) *Signer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	program(t, "ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test@example.com", "-f", path)
	public, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return &Signer{
		Name: "key.sshpub", Public: public, ID: strings.Fields(program(t, "ssh-keygen", "-l", "-f", path))[1],
		flags: []string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + path},
	}
}

// NewPGPSigner makes a PGP key.
func NewPGPSigner(t testing.TB) *Signer {
	t.Helper()
	home, err := os.MkdirTemp("", "gpg") //nolint:usetesting // the path of the agent's socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		program(t, "gpgconf", "--homedir", home, "--kill", "all")
		_ = os.RemoveAll(home)
	})
	gpg := func(args ...string) string {
		return program(t, "gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	}
	gpg("--quick-generate-key", "Test <test@example.com>", "ed25519", "sign", "never")
	var id string
	for line := range strings.Lines(gpg("--list-keys", "--with-colons")) {
		if fields := strings.Split(line, ":"); fields[0] == "pub" {
			id = fields[4]
		}
	}
	wrapper := filepath.Join(home, "sign")
	if err := os.WriteFile(wrapper, fmt.Appendf(nil, "#!/bin/sh\nexec gpg --homedir '%s' --batch --quiet \"$@\"\n", home), 0o700); err != nil {
		t.Fatal(err)
	}
	return &Signer{
		Name: "key.asc", Public: []byte(gpg("--armor", "--export") + "\n"), ID: id,
		flags: []string{"-c", "gpg.program=" + wrapper, "-c", "user.signingkey=" + id},
	}
}

func program(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// SignedCommit makes a commit and pushes it to branch; it returns the hash.
func (r *Repo) SignedCommit(by *Signer, branch, message string) string {
	r.t.Helper()
	r.Git("checkout", "--quiet", "-B", branch)
	r.Git(append(by.flags, "commit", "--quiet", "--allow-empty", "-S", "-m", message)...)
	r.Git("push", "--quiet", "--force", "origin", branch)
	return r.Git("rev-parse", "HEAD")
}

// SignedTag tags the newest commit and pushes the tag; it returns the annotation's hash.
func (r *Repo) SignedTag(by *Signer, name string) string {
	r.t.Helper()
	r.Git(append(by.flags, "tag", "--force", "-s", name, "-m", "release "+name)...)
	r.Git("push", "--quiet", "--force", "origin", "refs/tags/"+name)
	return r.Git("rev-parse", "refs/tags/"+name)
}
