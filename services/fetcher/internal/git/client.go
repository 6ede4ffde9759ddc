package git

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/cache"

	"github.com/sluice-gitops/sluice/internal/share"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// Config bounds what a Client keeps. Zero values mean the defaults.
type Config struct {
	// Dir holds the mirrors. Required; it is created if missing and belongs to
	// one Client alone.
	Dir string
	// CacheBytes of decoded objects are kept in memory; 64 MiB by default.
	CacheBytes int64
	// MaxPackBytes bounds what one fetch may transfer; 2 GiB by default.
	MaxPackBytes int64
	// MaxMirrors are kept at most; the least recently used goes first. 200 by default.
	MaxMirrors int
	// KeyExchanges and HostKeys are the algorithms that SSH may use, those of the library
	// that are not weak when empty.
	KeyExchanges, HostKeys []string
	// IdleAfter is how long an unused mirror stays; 24 hours by default.
	IdleAfter time.Duration
	// Quiet knows which servers want no request; one of its own when nil.
	Quiet *transport.Quiet
}

func (c Config) withDefaults() Config {
	if c.CacheBytes <= 0 {
		c.CacheBytes = 64 << 20
	}
	if c.MaxPackBytes <= 0 {
		c.MaxPackBytes = 2 << 30
	}
	if c.MaxMirrors <= 0 {
		c.MaxMirrors = 200
	}
	if c.IdleAfter <= 0 {
		c.IdleAfter = 24 * time.Hour
	}
	if c.Quiet == nil {
		c.Quiet = &transport.Quiet{}
	}
	return c
}

// Client reads repositories. It is safe for concurrent use; one at a time downloads into
// a mirror, unless it hangs, and any number read it.
type Client struct {
	config     Config
	transports transports
	objects    cache.Object
	// indexing lets one pack that takes much memory be stored at a time, of namespaces in turn.
	indexing  *share.Turns
	listings  flight.Group[advertised]
	downloads flight.Group[downloaded]
	// secret keys the names of the mirrors.
	secret []byte

	mu      sync.Mutex
	mirrors map[string]*mirror
	// leaving are the folders of mirrors that were given up and are still used.
	leaving map[string]bool
	// flushes are under way.
	flushes sync.WaitGroup
}

// New returns a client that keeps its mirrors in config.Dir.
func New(config Config) (*Client, error) {
	config = config.withDefaults()
	if config.Dir == "" {
		return nil, errors.New("the folder for git mirrors is empty")
	}
	if err := config.checkAlgorithms(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create folder for git mirrors: %w", err)
	}
	scratch, _ := filepath.Glob(filepath.Join(config.Dir, knownHostsFiles)) // the pattern is constant
	for _, file := range scratch {                                          // of a process that was killed
		if err := os.Remove(file); err != nil {
			return nil, fmt.Errorf("tidy folder for git mirrors: %w", err)
		}
	}
	secret, err := mirrorKey(config.Dir)
	if err != nil {
		return nil, err
	}
	return &Client{
		config:     config,
		secret:     secret,
		transports: transports{byTLS: map[[sha256.Size]byte]*http.Transport{}},
		objects:    cache.NewObjectLRU(cache.FileSize(config.CacheBytes)),
		indexing:   share.NewTurns(),
		mirrors:    map[string]*mirror{},
		leaving:    map[string]bool{},
		listings:   flight.Group[advertised]{Keep: flight.Keep},
	}, nil
}

// Close ends idle connections and closes the mirrors, which stay on disk.
func (c *Client) Close() error {
	c.transports.close()
	c.flushes.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, m := range c.mirrors {
		if m.users == 0 && m.tryLock() {
			errs = append(errs, m.flush(), m.shut())
			m.unlock()
		}
	}
	return errors.Join(errs...)
}

// mirrorSuffix marks the folders that are mirrors.
const mirrorSuffix = ".git"

// mirrorName is a folder name for a remote: those who read it with equal credentials
// share a mirror, and nobody else does. Shallow and complete mirrors are kept apart. A name
// tells nothing of a password to who does not know the client's key too.
func (c *Client) mirrorName(remote Remote, history bool) string {
	reader := remote.reader()
	mac := hmac.New(sha256.New, c.secret)
	fmt.Fprintf(mac, "%x %t %s", reader, history, remote.plainURL()) // a hash takes everything
	return hex.EncodeToString(mac.Sum(nil)[:16]) + mirrorSuffix
}

// use returns the remote's mirror, which stays until done is called as often.
func (c *Client) use(remote Remote, history bool) *mirror {
	name := c.mirrorName(remote, history)
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.mirrors[name]
	if !ok {
		dir := filepath.Join(c.config.Dir, name)
		for n := 1; c.leaving[dir]; n++ {
			dir = filepath.Join(c.config.Dir, fmt.Sprintf("%d-%s", n, name))
		}
		m = newMirror(dir, c.objects, c.indexing)
		c.mirrors[name] = m
	}
	m.users, m.used = m.users+1, time.Now()
	return m
}

// done ends a use.
func (c *Client) done(m *mirror) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.users, m.used = m.users-1, time.Now()
	if m.users == 0 && m.gone {
		_ = errors.Join(m.shut(), m.remove()) // what stays is trimmed when it is idle
		delete(c.leaving, m.dir)
	}
}

// abandon gives a mirror up that is broken, or holds too much: who comes gets another one.
// It goes when nobody reads it any more.
func (c *Client) abandon(m *mirror) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.mirrors, func(_ string, other *mirror) bool { return other == m })
	m.gone, c.leaving[m.dir] = true, true
	if err := os.Remove(filepath.Join(m.dir, tipsFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("give up mirror: %w", err)
	}
	return nil
}

// release ends a use, and first brings the disk up to date when much is in memory,
// without keeping the caller. A failure leaves it there, for a fetch that needs the
// room to report.
func (c *Client) release(m *mirror) {
	if !m.store.full() || !m.tryLock() {
		c.done(m)
		return
	}
	c.flushes.Go(func() {
		defer c.done(m)
		defer m.unlock()
		_ = m.flush()
	})
}

// Trim deletes mirrors that have not been used for long or are too many.
func (c *Client) Trim(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, m := range c.surplus(now) {
		errs = append(errs, m.shut(), m.remove())
		maps.DeleteFunc(c.mirrors, func(_ string, other *mirror) bool { return other == m })
	}
	return errors.Join(append(errs, c.trimDisk(now))...)
}

// surplus returns the open mirrors that should go.
func (c *Client) surplus(now time.Time) []*mirror {
	var idle, kept []*mirror
	for _, m := range c.mirrors {
		switch {
		case m.users > 0:
		case now.Sub(m.used) > c.config.IdleAfter:
			idle = append(idle, m)
		default:
			kept = append(kept, m)
		}
	}
	return append(idle, oldest(kept, len(kept)-c.config.MaxMirrors)...)
}

// trimDisk deletes what earlier processes left and nobody has opened since.
func (c *Client) trimDisk(now time.Time) error {
	entries, err := os.ReadDir(c.config.Dir)
	if err != nil {
		return fmt.Errorf("list git mirrors: %w", err)
	}
	open := maps.Clone(c.leaving)
	for _, m := range c.mirrors {
		open[m.dir] = true
	}
	var errs []error
	for _, entry := range entries {
		info, err := entry.Info()
		dir := filepath.Join(c.config.Dir, entry.Name())
		if err != nil || now.Sub(info.ModTime()) < c.config.IdleAfter || open[dir] || !strings.HasSuffix(dir, mirrorSuffix) {
			continue // gone already, young, in use, or something else
		}
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// Transport returns what requests to a remote go out by: its TLS settings and its
// proxy, without its credentials.
func (c *Client) Transport(remote Remote) (http.RoundTripper, error) {
	via, err := c.transports.get(remote.Auth, remote.Proxy)
	if err != nil {
		return nil, err
	}
	return c.config.Quiet.Over(remote.road(), via), nil
}

// CheckTLS reports whether TLS material can be used, before any request.
func (a Auth) CheckTLS() error {
	_, err := a.tlsConfig()
	return err
}
