package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// conn is a connection to the upload-pack service of one repository.
type conn interface {
	// advertised returns the references; it is called once, first.
	advertised(ctx context.Context) (*packp.AdvRefs, error)
	// lasting says that upload may be called any number of times, also concurrently;
	// else it is called at most once.
	lasting() bool
	// upload sends the request and returns the answer, whose pack is read from it.
	upload(ctx context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	close() error
}

// formatSHA256 is how a server says that a repository's objects are named by SHA-256.
const formatSHA256 = "object-format=sha256"

// maxCapabilities is how much of an advertisement is looked at for capabilities, which are in
// its first line.
const maxCapabilities = 8 << 10

// maxHeader bounds what is read into memory as a whole: a list of references, and what comes
// before a pack. It is room for almost a million references.
const maxHeader = 64 << 20

// decodeRefs reads a reference advertisement. The library that does so knows SHA-256 when it
// is built for it, and then nothing else.
func decodeRefs(r io.Reader) (*packp.AdvRefs, error) {
	refs, begin := packp.NewAdvRefs(), &beginning{left: maxCapabilities}
	err := refs.Decode(io.TeeReader(newHeader(r, maxHeader), begin))
	switch {
	case err != nil && bytes.Contains(begin.Bytes(), []byte(formatSHA256)):
		return nil, ErrSHA256
	case errors.Is(err, packp.ErrEmptyAdvRefs):
		return nil, ErrEmpty
	case err != nil:
		return nil, fmt.Errorf("read the list of references: %w", err)
	case refs.IsEmpty():
		return nil, ErrEmpty
	}
	return refs, nil
}

// beginning keeps the first bytes that are written to it.
type beginning struct {
	bytes.Buffer
	left int
}

// Write implements io.Writer.
func (b *beginning) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	_, _ = b.Buffer.Write(p[:n]) // never fails
	return len(p), nil
}

// encodeUpload writes an upload request in one go: what is wanted, what is
// there, and done, so that one round trip is all that a fetch takes.
func encodeUpload(w io.Writer, req *packp.UploadPackRequest) error {
	if err := req.UploadRequest.Encode(w); err != nil {
		return fmt.Errorf("send wants: %w", err)
	}
	if err := req.UploadHaves.Encode(w, false); err != nil {
		return fmt.Errorf("send haves: %w", err)
	}
	if err := pktline.NewEncoder(w).EncodeString("done\n"); err != nil {
		return fmt.Errorf("send done: %w", err)
	}
	return nil
}

func decodeUpload(body io.ReadCloser, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	res, begin := packp.NewUploadPackResponse(req), newHeader(body, maxHeader)
	answer := struct {
		io.Reader
		io.Closer
	}{begin, body}
	if err := res.Decode(answer); err != nil {
		return nil, fmt.Errorf("read the answer to a fetch: %w", err)
	}
	begin.left = math.MaxInt64 // what follows is the pack, which who reads it bounds
	return res, nil
}

// header is an answer of which no more is read than there may be.
type header struct {
	io.Reader
	most, left int64
}

func newHeader(r io.Reader, most int64) *header { return &header{r, most, most} }

// Read implements io.Reader.
func (h *header) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if h.left -= int64(n); h.left < 0 {
		return 0, fmt.Errorf("it has more than the %d bytes that are read: %w", h.most, ErrLimit)
	}
	return n, err
}
