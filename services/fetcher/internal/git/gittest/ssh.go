package gittest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSHServer serves every repository under a folder over SSH to one key.
type SSHServer struct {
	// URL of the server; a repository is at URL/<name>.
	URL string
	// Identity is the private key that is let in, in PEM form.
	Identity []byte
	// KnownHosts is the line that names the server's host key.
	KnownHosts []byte

	root string
}

// NewKey returns a new SSH key and its PEM form, encrypted if passphrase is set.
func NewKey(t testing.TB, passphrase string) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

// ServeSSH serves root until the test ends. The identity is encrypted if
// passphrase is set.
func ServeSSH(t testing.TB, root, passphrase string) *SSHServer {
	t.Helper()
	client, identity := NewKey(t, passphrase)
	host, _ := NewKey(t, "")
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if c.User() != "git" || string(key.Marshal()) != string(client.PublicKey().Marshal()) {
				return nil, fmt.Errorf("unknown key of %q", c.User())
			}
			return &ssh.Permissions{}, nil
		},
	}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := &SSHServer{
		URL: "ssh://git@" + l.Addr().String(), Identity: identity, root: root,
		KnownHosts: []byte(knownhosts.Line([]string{knownhosts.Normalize(l.Addr().String())}, host.PublicKey()) + "\n"),
	}
	go s.accept(l, config)
	return s
}

func (s *SSHServer) accept(l net.Listener, config *ssh.ServerConfig) {
	for {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		go s.serve(raw, config)
	}
}

func (s *SSHServer) serve(raw net.Conn, config *ssh.ServerConfig) {
	defer raw.Close()
	_, channels, requests, err := ssh.NewServerConn(raw, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		if channel.ChannelType() != "session" {
			_ = channel.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		opened, requests, err := channel.Accept()
		if err != nil {
			return
		}
		go s.session(opened, requests)
	}
}

func (s *SSHServer) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for request := range requests {
		if request.Type != "exec" {
			_ = request.Reply(false, nil)
			continue
		}
		_ = request.Reply(true, nil)
		status := s.exec(string(request.Payload[4:]), channel)
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		return
	}
}

func (s *SSHServer) exec(command string, channel ssh.Channel) uint32 {
	path, ok := strings.CutPrefix(command, "git-upload-pack '")
	if !ok {
		_, _ = io.WriteString(channel.Stderr(), "only git-upload-pack\n")
		return 1
	}
	cmd := exec.Command("git", "upload-pack", filepath.Join(s.root, strings.TrimSuffix(path, "'")))
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 1
	}
	go func() { // ends with the channel; the program need not wait for it
		_, _ = io.Copy(stdin, channel)
		_ = stdin.Close()
	}()
	if err := cmd.Run(); err != nil {
		return 128
	}
	return 0
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
