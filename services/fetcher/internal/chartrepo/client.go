package chartrepo

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/internal/share"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartindex"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/spool"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// Repository is a Helm repository and how to read it.
type Repository struct {
	// URL is that of the folder of index.yaml.
	URL string
	// Username and Password are sent to the URL's own origin.
	Username, Password string
	// PassCredentials sends them to every other origin too that the index names.
	PassCredentials bool
	// TLS may be nil. Trust is equal for settings that are equal.
	TLS   *tls.Config
	Trust flight.Key
	// Namespace is who asks: namespaces take turns where there is not room for all.
	Namespace string
	// Road is that of source.State.
	Road string
}

// Config of a Client. All of it is required.
type Config struct {
	// Scratch is a folder for what is read.
	Scratch string
	// MaxIndex and MaxChart bound one index and one package, in bytes.
	MaxIndex, MaxChart int64
	// Tables keeps the indexes that were read.
	Tables *chartindex.Tables
	// Quiet knows which servers want no request.
	Quiet *transport.Quiet
}

// Client reads Helm repositories. Those who read one with the same credentials share what
// is downloaded at the same time. It is safe for concurrent use.
type Client struct {
	config  Config
	indexes flight.Group[*read]
	charts  flight.Group[*spool.Spool]
	// normalising lets one large index be in memory at a time, of namespaces in turn.
	normalising *share.Turns

	mu    sync.Mutex
	known map[flight.Key]known
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
	return &Client{
		config: config, known: map[flight.Key]known{},
		indexes: flight.Group[*read]{Keep: flight.Keep, Drop: (*read).drop},
		charts:  flight.Group[*spool.Spool]{Keep: flight.Keep, Drop: drop},

		normalising: share.NewTurns(),
	}
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

// read is an index as it was read; without content when a server vouched for one.
type read struct {
	revision string
	size     int64
	content  *spool.Spool
}

func (r *read) drop() { drop(r.content) }

// drop forgets what was read, which is scratch.
func drop(content *spool.Spool) {
	if content != nil {
		_ = content.Close()
	}
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
	answer, err := c.indexes.Do(ctx, r.identity(), func() (*read, error) { return c.read(ctx, r, revision) })
	if err == nil && answer.Value.content == nil && answer.Value.revision != revision {
		// The server vouched for another one's revision, so this one needs the content.
		answer.Close()
		var whole flight.Key
		if whole, err = flight.KeyOf(r.identity(), "whole"); err != nil {
			return nil, err
		}
		answer, err = c.indexes.Do(ctx, whole, func() (*read, error) { return c.read(ctx, r, "") })
	}
	if err != nil {
		return nil, err
	}
	index := &Index{Revision: answer.Value.revision, Size: answer.Value.size, Close: func() error { answer.Close(); return nil }}
	if answer.Value.content == nil {
		return index, nil
	}
	content, err := answer.Value.content.Reader()
	if err != nil {
		answer.Close()
		return nil, err
	}
	index.JSON, index.Close = content, func() error {
		defer answer.Close()
		return content.Close()
	}
	return index, nil
}

// read makes the request for an index. It tells what was read before if that has the revision.
func (c *Client) read(ctx context.Context, r Repository, revision string) (*read, error) {
	before := c.recall(r)
	conditional := before.revision != "" && before.revision == revision
	location, err := indexURL(r.URL)
	if err != nil {
		return nil, err
	}
	res, done, err := c.get(ctx, r, location, func(h http.Header) { //nolint:bodyclose // done closes it
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
	unchanged := &read{revision: before.revision, size: before.size}
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
	index, err := c.normalise(ctx, raw, r.Namespace)
	if err != nil {
		return nil, err
	}
	now.revision, now.size = index.revision, index.size
	c.remember(r, now)
	return index, nil
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

// Chart downloads the package of a version. One with another digest than the index says is an
// error.
func (c *Client) Chart(ctx context.Context, r Repository, v chartindex.Version) ([]byte, error) {
	location, err := locate(r, v)
	if err != nil {
		return nil, err
	}
	key, err := flight.KeyOf(r.identity(), location.String(), v.Digest)
	if err != nil {
		return nil, err
	}
	if v.Digest != "" {
		ctx = flight.Since(ctx, time.Time{}) // the index says that it is the same package
	}
	answer, err := c.charts.Do(ctx, key, func() (*spool.Spool, error) { return c.download(ctx, r, location, v.Digest) })
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	content, err := answer.Value.Reader()
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }() // it is only read from
	archive, err := io.ReadAll(content)
	if err != nil {
		return nil, fmt.Errorf("read scratch file: %w", err)
	}
	return archive, nil
}

func (c *Client) download(ctx context.Context, r Repository, location *url.URL, digest string) (*spool.Spool, error) {
	res, done, err := c.get(ctx, r, location, func(h http.Header) { //nolint:bodyclose // done closes it
		h.Set("Accept-Encoding", "identity") // or what a server takes for a compressed tar would be unpacked
	})
	if err != nil {
		return nil, err
	}
	defer done()
	content := spool.OnDisk(c.config.Scratch)
	hash, err := copyHashed(content, res.Body, c.config.MaxChart)
	if err == nil {
		err = compare(digest, hash)
	}
	if err != nil {
		drop(content)
		return nil, fmt.Errorf("failed to fetch %s: %w", shown(location), err)
	}
	return content, nil
}

// compare says whether a package is the one that the index names. Neither Helm nor Flux
// looks; but a package often lies elsewhere than its index. What is no SHA-256 says nothing.
func compare(digest string, hash [sha256.Size]byte) error {
	want, have := strings.ToLower(strings.TrimPrefix(digest, "sha256:")), hex.EncodeToString(hash[:])
	if len(want) != len(have) || want == have {
		return nil
	}
	return fmt.Errorf("the package has digest sha256:%s, the index says sha256:%s: "+
		"publish the package that the index names, or make the index anew (helm repo index)", have, want)
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

// identity is equal for repositories that are read from the same place in the same way.
func (r Repository) identity() flight.Key {
	hash := sha256.New()
	for _, part := range []string{r.URL, r.Username, r.Password, string(r.Trust[:])} {
		fmt.Fprintf(hash, "%d:%s", len(part), part)
	}
	fmt.Fprintf(hash, "%t", r.PassCredentials)
	return flight.Key(hash.Sum(nil))
}

func (c *Client) recall(r Repository) known {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[r.identity()]
}

func (c *Client) remember(r Repository, k known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxKnown {
		clear(c.known) // the next look at each costs a download
	}
	c.known[r.identity()] = k
}
