package gittest

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// Signer makes signatures as gpg and ssh-keygen do, which not every machine has.
type Signer struct {
	// Name is that of an entry of a Secret that would hold the key.
	Name string
	// Public is the public key, as such an entry holds it.
	Public []byte
	// ID is how a verified signature names the key.
	ID string

	sign func(payload []byte) ([]byte, error)
}

// NewSSHSigner makes an SSH key of a kind: ed25519 or rsa.
func NewSSHSigner(t testing.TB, kind string) *Signer {
	t.Helper()
	var private crypto.Signer
	var err error
	if kind == "rsa" {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return &Signer{
		Name: "key.sshpub", Public: ssh.MarshalAuthorizedKey(signer.PublicKey()), ID: ssh.FingerprintSHA256(signer.PublicKey()),
		sign: func(payload []byte) ([]byte, error) {
			signature, err := sshsig.Sign(bytes.NewReader(payload), signer, sshsig.HashSHA512, "git")
			if err != nil {
				return nil, err
			}
			return sshsig.Armor(signature), nil
		},
	}
}

// NewPGPSigner makes a PGP key.
func NewPGPSigner(t testing.TB) *Signer {
	t.Helper()
	entity, err := openpgp.NewEntity("Test", "", "test@example.com", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	var public bytes.Buffer
	w, err := armor.Encode(&public, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := entity.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &Signer{
		Name: "key.asc", Public: public.Bytes(), ID: entity.PrimaryKey.KeyIdString(),
		sign: func(payload []byte) ([]byte, error) {
			var signature bytes.Buffer
			err := openpgp.ArmoredDetachSign(&signature, entity, bytes.NewReader(payload), nil)
			return append(bytes.TrimSpace(signature.Bytes()), '\n'), err
		},
	}
}

// SignedCommit makes a commit and pushes it to branch; it returns the hash.
func (r *Repo) SignedCommit(by *Signer, branch, message string) string {
	r.t.Helper()
	r.Git("checkout", "--quiet", "-B", branch)
	r.Git("commit", "--quiet", "--allow-empty", "-m", message)
	commit := r.raw(nil, "cat-file", "commit", "HEAD")
	signature := strings.ReplaceAll(strings.TrimSpace(string(r.signature(by, commit))), "\n", "\n ")
	header, body, _ := bytes.Cut(commit, []byte("\n\n"))
	r.store("HEAD", "commit", []byte(string(header)+"\ngpgsig "+signature+"\n\n"+string(body)))
	r.Git("push", "--quiet", "--force", "origin", branch)
	return r.Git("rev-parse", "HEAD")
}

// SignedTag tags the newest commit and pushes the tag; it returns the annotation's hash.
func (r *Repo) SignedTag(by *Signer, name string) string {
	r.t.Helper()
	r.Git("tag", "--force", "--annotate", name, "-m", "release "+name)
	tag := r.raw(nil, "cat-file", "tag", "refs/tags/"+name)
	r.store("refs/tags/"+name, "tag", append(tag, r.signature(by, tag)...))
	r.Git("push", "--quiet", "--force", "origin", "refs/tags/"+name)
	return r.Git("rev-parse", "refs/tags/"+name)
}

func (r *Repo) signature(by *Signer, payload []byte) []byte {
	r.t.Helper()
	signature, err := by.sign(payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return signature
}

// store writes an object of a kind and makes ref be it.
func (r *Repo) store(ref, kind string, content []byte) {
	r.t.Helper()
	hash := strings.TrimSpace(string(r.raw(content, "hash-object", "-t", kind, "-w", "--stdin")))
	r.Git("update-ref", ref, hash)
}

// raw runs git with some input and returns what it prints, untrimmed.
func (r *Repo) raw(input []byte, args ...string) []byte {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.work
	cmd.Env, cmd.Stdin, cmd.Stderr = environment(), bytes.NewReader(input), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("git %s: %v", args[0], err)
	}
	return out
}
