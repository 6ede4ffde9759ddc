package chartrepo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartindex"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/spool"
)

// Repository is a Helm repository and how to read it.
type Repository struct {
	// URL is that of the folder of index.yaml.
	URL string
	// Username and Password are sent to the URL's own origin.
	Username, Password string
	// PassCredentials sends them to every other origin too that the index names.
	PassCredentials bool
	// TLS may be nil.
	TLS *tls.Config
}

// Config of a Client. All of it is required.
type Config struct {
	// Scratch is a folder for what is read.
	Scratch string
	// MaxIndex and MaxChart bound one index and one package, in bytes.
	MaxIndex, MaxChart int64
	// Tables keeps the indexes that were read.
	Tables *chartindex.Tables
}

// Client reads Helm repositories. It is safe for concurrent use.
type Client struct {
	config Config
	// normalising lets one index be in memory at a time.
	normalising sync.Mutex

	mu    sync.Mutex
	known map[[sha256.Size]byte]known
}

// known is an index that was read.
type known struct {
	etag, modified string
	raw            [sha256.Size]byte
	revision       string
	size           int64
}

// maxKnown bounds how many indexes are known.
const maxKnown = 10_000

// New returns a client.
func New(config Config) *Client {
	return &Client{config: config, known: map[[sha256.Size]byte]known{}}
}

// Index is an index as it is now.
type Index struct {
	// Revision is sha256:<hex> of its normalised form, and Size that form's bytes.
	Revision string
	Size     int64
	// JSON is the normalised form; nil when the index is the one that was asked with.
	JSON io.ReadSeeker
	// Close forgets it.
	Close func() error
}

// LoadError says that an index was read and is none.
type LoadError struct{ Err error }

// Error implements error.
func (e *LoadError) Error() string { return e.Err.Error() }

// Unwrap implements error.
func (e *LoadError) Unwrap() error { return e.Err }

// Index reads the repository's index. A server that vouches that it is still the one
// of the revision, by its ETag or date, sends nothing.
func (c *Client) Index(ctx context.Context, r Repository, revision string) (*Index, error) {
	before := c.recall(r)
	conditional := before.revision != "" && before.revision == revision
	location, err := indexURL(r.URL)
	if err != nil {
		return nil, err
	}
	res, done, err := r.get(ctx, location, func(h http.Header) { //nolint:bodyclose // done closes it
		if conditional && before.etag != "" {
			h.Set("If-None-Match", before.etag)
		}
		if conditional && before.modified != "" {
			h.Set("If-Modified-Since", before.modified)
		}
	})
	if err != nil {
		return nil, err
	}
	defer done()
	unchanged := &Index{Revision: revision, Size: before.size, Close: func() error { return nil }}
	if res.StatusCode == http.StatusNotModified && conditional {
		return unchanged, nil
	}
	now := known{etag: res.Header.Get("ETag"), modified: res.Header.Get("Last-Modified")}
	raw := spool.New(c.config.Scratch)
	defer func() { _ = raw.Close() }() // it is only read from
	if now.raw, err = copyHashed(raw, res.Body, c.config.MaxIndex); err != nil {
		return nil, fmt.Errorf("failed to fetch %s: %w", shown(location), err)
	}
	if conditional && now.raw == before.raw {
		now.revision, now.size = before.revision, before.size
		c.remember(r, now)
		return unchanged, nil
	}
	index, err := c.normalise(raw)
	if err != nil {
		return nil, err
	}
	now.revision, now.size = index.Revision, index.Size
	c.remember(r, now)
	return index, nil
}

func (c *Client) normalise(raw *spool.Spool) (_ *Index, err error) {
	c.normalising.Lock()
	defer c.normalising.Unlock()
	content, err := raw.Content()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(content)
	if err != nil {
		return nil, fmt.Errorf("read scratch file: %w", err)
	}
	out, hash := spool.New(c.config.Scratch), sha256.New()
	defer func() {
		if err != nil {
			_ = out.Close() // the first error says why
		}
	}()
	table, err := chartindex.Normalise(data, io.MultiWriter(out, hash))
	if err != nil {
		return nil, &LoadError{Err: err}
	}
	index := &Index{Revision: "sha256:" + hex.EncodeToString(hash.Sum(nil)), Close: out.Close}
	if index.JSON, err = out.Content(); err != nil {
		return nil, err
	}
	if index.Size, err = size(index.JSON); err != nil {
		return nil, err
	}
	c.config.Tables.Put(index.Revision, table)
	return index, nil
}

func size(s io.Seeker) (int64, error) {
	n, err := s.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = s.Seek(0, io.SeekStart)
	}
	if err != nil {
		return 0, fmt.Errorf("measure index: %w", err)
	}
	return n, nil
}

// Table returns the table of the repository's index as it is now.
func (c *Client) Table(ctx context.Context, r Repository) (*chartindex.Index, error) {
	last := c.recall(r).revision
	if last != "" && c.config.Tables.Get(last) == nil {
		last = "" // a table that is not kept has to be read again
	}
	index, err := c.Index(ctx, r, last)
	if err != nil {
		return nil, err
	}
	defer func() { _ = index.Close() }() // it is only read from
	if table := c.config.Tables.Get(index.Revision); table != nil {
		return table, nil
	}
	if index.JSON == nil {
		return nil, errors.New("the index left memory while it was looked at: try again")
	}
	return chartindex.Read(index.JSON)
}

// Chart downloads the package of a version.
func (c *Client) Chart(ctx context.Context, r Repository, v chartindex.Version) ([]byte, error) {
	if len(v.URLs) == 0 {
		return nil, errors.New("the index names no URL of it")
	}
	base, err := url.Parse(r.URL)
	if err != nil {
		return nil, errors.New("the repository's URL is no URL")
	}
	ref, err := url.Parse(v.URLs[0])
	if err != nil {
		return nil, errors.New("the index names a URL that is none")
	}
	location := resolve(base, ref)
	if location.Scheme != "http" && location.Scheme != "https" {
		return nil, fmt.Errorf("the index names a URL of scheme %q, only http and https are read", location.Scheme)
	}
	res, done, err := r.get(ctx, location, func(http.Header) {}) //nolint:bodyclose // done closes it
	if err != nil {
		return nil, err
	}
	defer done()
	var body bytes.Buffer
	if _, err := copyHashed(&body, res.Body, c.config.MaxChart); err != nil {
		return nil, fmt.Errorf("failed to fetch %s: %w", shown(location), err)
	}
	return body.Bytes(), nil
}

// copyHashed copies at most limit bytes and returns their digest.
func copyHashed(to io.Writer, from io.Reader, limit int64) ([sha256.Size]byte, error) {
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, hash), io.LimitReader(from, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("it has more than the %d bytes that are allowed", limit)
	}
	return [sha256.Size]byte(hash.Sum(nil)), err
}

func (r Repository) scope() [sha256.Size]byte {
	hash := sha256.New()
	for _, part := range []string{r.URL, r.Username, r.Password} {
		fmt.Fprintf(hash, "%d:%s", len(part), part)
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

func (c *Client) recall(r Repository) known {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[r.scope()]
}

func (c *Client) remember(r Repository, k known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxKnown {
		clear(c.known) // the next look at each costs a download
	}
	c.known[r.scope()] = k
}
