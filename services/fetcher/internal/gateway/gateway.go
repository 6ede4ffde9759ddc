// Package gateway serves artifacts over HTTP where the status of a source says
// they are, for other tools of the ecosystem. It streams them from object storage.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/share"
)

// Artifact is where a path leads.
type Artifact struct {
	// Blob is its name in object storage.
	Blob string
	// Digest is what its bytes must be, sha256:<hex>.
	Digest string
}

// ErrNotFound says that no source has such an artifact.
var ErrNotFound = errors.New("no such artifact")

// ErrBusy says that it is not known now whether there is such an artifact.
var ErrBusy = errors.New("too many questions about artifacts that are not known")

// Find returns the artifact that is served at a path, ErrNotFound or ErrBusy; if live it asks
// the API server at once.
type Find func(ctx context.Context, path string, live bool) (Artifact, error)

// maxRanges bounds the ranges of one request: each may read the artifact from its start.
const maxRanges = 4

// MaxDownloads are those at once, each of which keeps a request to storage as long as its client reads. One client may
// have half of them.
const MaxDownloads = 128

// patience is how long one more waits.
const patience = 10 * time.Second

type store interface {
	Stat(ctx context.Context, name string) (blob.Object, error)
	Reader(ctx context.Context, name, wantDigest string) (io.ReadCloser, error)
}

// New returns the handler of the gateway. It answers GET and HEAD, with ranges
// and entity tags.
func New(find Find, blobs store) http.Handler {
	downloads := share.New(MaxDownloads, MaxDownloads/2)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		if strings.Count(r.Header.Get("Range"), ",") >= maxRanges {
			http.Error(w, fmt.Sprintf("more than %d ranges", maxRanges), http.StatusRequestedRangeNotSatisfiable)
			return
		}
		artifact, object, err := look(r.Context(), find, blobs, strings.TrimPrefix(r.URL.Path, "/"))
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, blob.ErrNotFound):
			http.Error(w, "artifact not found", http.StatusNotFound)
			return
		case errors.Is(err, ErrBusy):
			w.Header().Set("Retry-After", "1")
			http.Error(w, "ask again", http.StatusServiceUnavailable)
			return
		case err != nil:
			http.Error(w, "artifact cannot be read now", http.StatusServiceUnavailable)
			return
		}
		if r.Method == http.MethodGet {
			client := clientOf(r)
			if err := enter(r.Context(), downloads, client); err != nil {
				w.Header().Set("Retry-After", "1")
				http.Error(w, "too many downloads at once", http.StatusServiceUnavailable)
				return
			}
			defer downloads.Leave(client)
		}
		content := &seeker{ctx: r.Context(), blobs: blobs, artifact: artifact, size: object.Size}
		defer content.close()
		header := w.Header()
		header.Set("Content-Type", contentType(r.URL.Path))
		header.Set("ETag", `"`+artifact.Digest+`"`)
		header.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", object.Modified, content)
		if content.failed != nil {
			panic(http.ErrAbortHandler) // the client must not take a part for the whole
		}
	})
}

// enter waits a while for a place.
func enter(ctx context.Context, downloads *share.Line, client string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return downloads.Enter(ctx, client)
}

// clientOf is the host that a request comes from.
func clientOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// look returns the artifact that is served at a path, as storage has it. What is known without
// the API server may lag behind, and name one that is gone.
func look(ctx context.Context, find Find, blobs store, path string) (artifact Artifact, object blob.Object, err error) {
	for _, live := range []bool{false, true} {
		if artifact, err = find(ctx, path, live); err != nil {
			return artifact, object, err
		}
		if object, err = blobs.Stat(ctx, artifact.Blob); !errors.Is(err, blob.ErrNotFound) {
			return artifact, object, err
		}
	}
	return artifact, object, err
}

// contentType is that of a file by its name: an index is JSON, whatever it is called.
func contentType(path string) string {
	if strings.HasSuffix(path, ".yaml") {
		return "application/json"
	}
	return "application/gzip"
}

// seeker makes an object in storage seekable: a seek only notes the place, and
// the next read starts there.
type seeker struct {
	ctx      context.Context // of the one request that it serves
	blobs    store
	artifact Artifact
	size     int64

	at     int64
	body   io.ReadCloser
	bodyAt int64
	failed error
}

// Seek notes the offset.
func (s *seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.at
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	s.at = offset
	return offset, nil
}

// Read reads from the noted offset on.
func (s *seeker) Read(p []byte) (int, error) {
	if s.body == nil || s.bodyAt != s.at {
		if err := s.open(); err != nil {
			s.failed = err
			return 0, err
		}
	}
	n, err := s.body.Read(p)
	s.at += int64(n)
	s.bodyAt = s.at
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed = err
	}
	return n, err
}

func (s *seeker) open() error {
	s.close()
	body, err := s.blobs.Reader(s.ctx, s.artifact.Blob, s.artifact.Digest)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, body, s.at); err != nil {
		_ = body.Close() // the first error says why
		return fmt.Errorf("skip to offset %d: %w", s.at, err)
	}
	s.body, s.bodyAt = body, s.at
	return nil
}

func (s *seeker) close() {
	if s.body != nil {
		_ = s.body.Close() // only read from
		s.body = nil
	}
}
