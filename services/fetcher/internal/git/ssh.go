package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// sshConn speaks the Git protocol, version 0, with a command run over SSH. The
// connection ends with its context.
type sshConn struct {
	client  *ssh.Client
	session *ssh.Session
	stdin   io.WriteCloser
	stdout  io.Reader
	stderr  *firstLine
	stop    func() bool
}

func dialSSH(ctx context.Context, remote Remote, allowed Config) (_ *sshConn, err error) {
	u, err := ParseURL(remote.URL)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	user := "git"
	if u.User != nil && u.User.Username() != "" {
		user = u.User.Username()
	}
	config, err := remote.Auth.sshConfig(user, addr, allowed)
	if err != nil {
		return nil, err
	}
	raw, err := dial(ctx, remote.Proxy, addr)
	if err != nil {
		return nil, fmt.Errorf("unable to list remote: %w", err)
	}
	c := &sshConn{stderr: &firstLine{}}
	c.stop = context.AfterFunc(ctx, func() { _ = raw.Close() }) // nobody is left to tell
	defer func() {
		if err != nil {
			c.stop()
			_ = raw.Close() // the first error says why
			err = fmt.Errorf("unable to list remote: %w", orContext(ctx, err))
		}
	}()
	secured, channels, requests, err := ssh.NewClientConn(raw, addr, config)
	if err != nil {
		return nil, explainHostKey(err, addr)
	}
	c.client = ssh.NewClient(secured, channels, requests)
	if err := c.start(u.Path); err != nil {
		return nil, err
	}
	return c, nil
}

// explainHostKey says what to do about a host key that known_hosts does not vouch for.
func explainHostKey(err error, addr string) error {
	switch {
	case knownhosts.IsHostUnknown(err):
		return fmt.Errorf("%w: 'known_hosts' in secretRef has no line for %s: add its host key", err, addr)
	case knownhosts.IsHostKeyChanged(err):
		return fmt.Errorf("%w: 'known_hosts' in secretRef has another key for %s: find out why it changed, then replace it", err, addr)
	}
	return err
}

// orContext prefers the reason why the context ended to the noise of a closed connection.
func orContext(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c *sshConn) start(path string) (err error) {
	if c.session, err = c.client.NewSession(); err != nil {
		return fmt.Errorf("open SSH session: %w", err)
	}
	if c.stdin, err = c.session.StdinPipe(); err != nil {
		return fmt.Errorf("open SSH session: %w", err)
	}
	if c.stdout, err = c.session.StdoutPipe(); err != nil {
		return fmt.Errorf("open SSH session: %w", err)
	}
	c.session.Stderr = c.stderr
	if err := c.session.Start(service + " " + quote(path)); err != nil {
		return fmt.Errorf("start %s: %w", service, err)
	}
	return nil
}

// quote makes a path one word for the shell at the other end, as Git does it.
func quote(path string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}

// sshConfig pins the host keys and offers the identity.
func (a Auth) sshConfig(user, addr string, allowed Config) (*ssh.ClientConfig, error) {
	if len(a.Identity) == 0 {
		return nil, errors.New("ssh needs a secretRef with 'identity' and 'known_hosts'")
	}
	signer, err := a.signer()
	if err != nil {
		return nil, err
	}
	hosts, err := a.knownHosts(allowed.Dir)
	if err != nil {
		return nil, err
	}
	config := &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: hosts.HostKeyCallback(), HostKeyAlgorithms: hosts.HostKeyAlgorithms(addr),
	}
	config.KeyExchanges = allowed.KeyExchanges
	if len(allowed.HostKeys) > 0 {
		known := config.HostKeyAlgorithms
		config.HostKeyAlgorithms = slices.DeleteFunc(slices.Clone(allowed.HostKeys), func(name string) bool {
			return len(known) > 0 && !slices.Contains(known, name)
		})
		if len(config.HostKeyAlgorithms) == 0 {
			return nil, fmt.Errorf("'known_hosts' in secretRef has no key for %s of the kinds that ssh-hostkey-algos allows: add one, or allow its kind", addr)
		}
	}
	return config, nil
}

// checkAlgorithms says which name is none of an algorithm.
func (c Config) checkAlgorithms() error {
	safe, weak := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	for _, name := range c.KeyExchanges {
		if !slices.Contains(safe.KeyExchanges, name) && !slices.Contains(weak.KeyExchanges, name) {
			return fmt.Errorf("ssh-kex-algos: %q is not known, use some of %q", name, safe.KeyExchanges)
		}
	}
	for _, name := range c.HostKeys {
		if !slices.Contains(safe.HostKeys, name) && !slices.Contains(weak.HostKeys, name) {
			return fmt.Errorf("ssh-hostkey-algos: %q is not known, use some of %q", name, safe.HostKeys)
		}
	}
	return nil
}

// knownHostsFiles is the pattern of scratch files.
const knownHostsFiles = "known_hosts-*"

// knownHosts parses the accepted host keys. The parser reads files only.
func (a Auth) knownHosts(dir string) (*knownhosts.HostKeyDB, error) {
	f, err := os.CreateTemp(dir, knownHostsFiles)
	if err != nil {
		return nil, fmt.Errorf("read 'known_hosts': %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // New deletes what stays
	_, err = f.Write(a.KnownHosts)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read 'known_hosts': %w", err)
	}
	db, err := knownhosts.NewDB(f.Name())
	if err != nil {
		return nil, fmt.Errorf("parse 'known_hosts': %s", strings.ReplaceAll(err.Error(), f.Name()+":", "line "))
	}
	return db, nil
}

func (c *sshConn) advertised(ctx context.Context) (*packp.AdvRefs, error) {
	refs, err := decodeRefs(c.stdout)
	if err == nil || errors.Is(err, ErrEmpty) {
		return refs, err
	}
	err = orContext(ctx, err)
	if line := c.stderr.String(); line != "" {
		return nil, fmt.Errorf("unable to list remote: the server says %q: %w", line, err)
	}
	return nil, fmt.Errorf("unable to list remote: %w", err)
}

func (c *sshConn) upload(_ context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	if err := encodeUpload(c.stdin, req); err != nil {
		return nil, err
	}
	if err := c.stdin.Close(); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("end request: %w", err)
	}
	return decodeUpload(io.NopCloser(c.stdout), req)
}

func (c *sshConn) lasting() bool { return false }

func (c *sshConn) close() error {
	c.stop()
	if err := c.client.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close SSH connection: %w", err)
	}
	return nil
}

// firstLine keeps the first line a server writes to its error output.
type firstLine struct {
	mu   sync.Mutex
	text []byte
}

// Write keeps at most 200 bytes and swallows the rest.
func (f *firstLine) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text = append(f.text, p[:min(len(p), 200-len(f.text))]...)
	return len(p), nil
}

// String returns the line without its end.
func (f *firstLine) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	line, _, _ := strings.Cut(string(f.text), "\n")
	return strings.TrimSpace(line)
}
