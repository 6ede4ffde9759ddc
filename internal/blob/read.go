package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/minio/minio-go/v7"
)

// Get reads a whole object and verifies its bytes against wantDigest, or
// against the digest it was stored with when wantDigest is empty. An object of
// more than limit bytes is refused with ErrTooLarge before it is read.
func (s *Store) Get(ctx context.Context, name, wantDigest string, limit int64) ([]byte, error) {
	body, object, err := s.open(ctx, name, wantDigest)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }() // it was only read
	if object.Size > limit {
		return nil, fmt.Errorf("object %q has %d bytes, at most %d allowed: %w", name, object.Size, limit, ErrTooLarge)
	}
	var buf bytes.Buffer
	buf.Grow(int(max(object.Size, 0)) + bytes.MinRead)
	if _, err := buf.ReadFrom(io.LimitReader(body, limit+1)); err != nil {
		return nil, fmt.Errorf("read object %q: %w", name, err)
	}
	if int64(buf.Len()) > limit {
		return nil, fmt.Errorf("object %q is longer than it says: %w", name, ErrTooLarge)
	}
	return buf.Bytes(), nil
}

// Reader streams an object. Its bytes are verified when the end is reached:
// the last Read then returns a CorruptError in place of io.EOF, so a caller
// must not use what it read before it has seen io.EOF. The caller closes it.
func (s *Store) Reader(ctx context.Context, name, wantDigest string) (io.ReadCloser, error) {
	body, _, err := s.open(ctx, name, wantDigest)
	if err != nil {
		return nil, err
	}
	return body, nil
}

func (s *Store) open(ctx context.Context, name, wantDigest string) (*verifier, Object, error) {
	core := minio.Core{Client: s.client}
	body, info, _, err := core.GetObject(ctx, s.bucket, name, minio.GetObjectOptions{})
	if err != nil {
		return nil, Object{}, s.fail("read", name, err)
	}
	object := described(name, info)
	want := wantDigest
	if want == "" {
		want = object.Digest
	}
	return &verifier{body: body, name: name, want: want, hash: sha256.New()}, object, nil
}

// verifier hashes what passes through and compares at the end.
type verifier struct {
	body io.ReadCloser
	name string
	want string
	hash hash.Hash
}

// Read passes bytes on and returns a CorruptError at the end if they are not
// the ones wanted.
func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.body.Read(p)
	v.hash.Write(p[:n])
	if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, err
	}
	got := digestPrefix + hex.EncodeToString(v.hash.Sum(nil))
	if got != v.want {
		return n, &CorruptError{Name: v.name, Want: v.want, Got: got}
	}
	return n, io.EOF
}

// Close ends the request.
func (v *verifier) Close() error { return v.body.Close() }
