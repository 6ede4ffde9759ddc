package git

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// conn is a connection to the upload-pack service of one repository.
type conn interface {
	// advertised returns the references; it is called once, first.
	advertised(ctx context.Context) (*packp.AdvRefs, error)
	// upload sends the request and returns the answer, whose pack is read from
	// it. It is called at most once.
	upload(ctx context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	close() error
}

// decodeRefs reads a reference advertisement.
func decodeRefs(r io.Reader) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	err := refs.Decode(r)
	switch {
	case errors.Is(err, packp.ErrEmptyAdvRefs):
		return nil, ErrEmpty
	case err != nil:
		return nil, fmt.Errorf("read the list of references: %w", err)
	case refs.IsEmpty():
		return nil, ErrEmpty
	}
	return refs, nil
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
	res := packp.NewUploadPackResponse(req)
	if err := res.Decode(body); err != nil {
		return nil, fmt.Errorf("read the answer to a fetch: %w", err)
	}
	return res, nil
}
