package git

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/cache"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
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
	return c
}

// Client reads repositories. It is safe for concurrent use; work on one mirror is
// done one at a time.
type Client struct {
	config     Config
	transports transports
	objects    cache.Object
	listings   flight.Group[advertised]
	// secret keys the names of the mirrors.
	secret []byte

	mu      sync.Mutex
	mirrors map[string]*mirror
	// busy is until when a server wants no more requests with certain credentials.
	busy map[string]refusal
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
	secret, err := mirrorKey(config.Dir)
	if err != nil {
		return nil, err
	}
	return &Client{
		config:     config,
		secret:     secret,
		transports: transports{byTLS: map[[sha256.Size]byte]*http.Transport{}},
		objects:    cache.NewObjectLRU(cache.FileSize(config.CacheBytes)),
		mirrors:    map[string]*mirror{},
		listings:   flight.Group[advertised]{Keep: flight.Keep},
		busy:       map[string]refusal{},
	}, nil
}

// Close ends idle connections and closes the mirrors, which stay on disk.
func (c *Client) Close() error {
	c.transports.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, m := range c.mirrors {
		if m.tryLock() {
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

// lock returns the remote's mirror, locked.
func (c *Client) lock(ctx context.Context, remote Remote, history bool) (*mirror, error) {
	name := c.mirrorName(remote, history)
	for {
		c.mu.Lock()
		m, ok := c.mirrors[name]
		if !ok {
			m = newMirror(filepath.Join(c.config.Dir, name), c.objects)
			c.mirrors[name] = m
		}
		c.mu.Unlock()
		if err := m.lock(ctx); err != nil {
			return nil, fmt.Errorf("wait for the mirror: %w", err)
		}
		if !m.gone {
			m.used = time.Now()
			return m, nil
		}
		m.unlock()
	}
}

// Trim deletes mirrors that have not been used for long or are too many.
func (c *Client) Trim(now time.Time) error {
	var errs []error
	for _, m := range c.surplus(now) {
		if !m.tryLock() {
			continue // in use, so not idle
		}
		errs = append(errs, m.wipe())
		m.gone = true
		c.mu.Lock()
		delete(c.mirrors, filepath.Base(m.dir))
		c.mu.Unlock()
		m.unlock()
	}
	return errors.Join(append(errs, c.trimDisk(now))...)
}

// surplus returns the open mirrors that should go.
func (c *Client) surplus(now time.Time) []*mirror {
	c.mu.Lock()
	defer c.mu.Unlock()
	var idle []*mirror
	var kept []*mirror
	for _, m := range c.mirrors {
		if !m.tryLock() {
			continue
		}
		if now.Sub(m.used) > c.config.IdleAfter {
			idle = append(idle, m)
		} else {
			kept = append(kept, m)
		}
		m.unlock()
	}
	return append(idle, oldest(kept, len(kept)-c.config.MaxMirrors)...)
}

// trimDisk deletes what earlier processes left and nobody has opened since.
func (c *Client) trimDisk(now time.Time) error {
	entries, err := os.ReadDir(c.config.Dir)
	if err != nil {
		return fmt.Errorf("list git mirrors: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || now.Sub(info.ModTime()) < c.config.IdleAfter {
			continue // gone already, or young
		}
		c.mu.Lock()
		_, open := c.mirrors[entry.Name()]
		if !open && strings.HasSuffix(entry.Name(), mirrorSuffix) {
			errs = append(errs, os.RemoveAll(filepath.Join(c.config.Dir, entry.Name())))
		}
		c.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Transport returns what requests to a remote go out by: its TLS settings and its
// proxy, without its credentials.
func (c *Client) Transport(remote Remote) (http.RoundTripper, error) {
	return c.transports.get(remote.Auth, remote.Proxy)
}

// CheckTLS reports whether TLS material can be used, before any request.
func (a Auth) CheckTLS() error {
	_, err := a.tlsConfig()
	return err
}
