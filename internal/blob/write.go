package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// refreshAfter is the age at which Put writes an identical object once more.
// Sweep spares young objects; without the refresh it could remove one that is
// old but has just been put to use again.
const refreshAfter = 15 * time.Minute

// rounds bounds how often Put looks again when others write the same name.
const rounds = 4

// Put stores body under name. digest is the digest of body.
//
//   - If the name is free, the object is created (If-None-Match: *).
//   - If it holds the same, intact content, Put succeeds and changes nothing,
//     save that an object older than 15 minutes is written again, so that it
//     counts as young for Sweep.
//   - If it holds a damaged object, one whose bytes do not match the digest in
//     its metadata, the object is replaced: nobody can use it, and to keep it
//     would block its name for ever.
//   - If it holds other, intact content, Put returns an ExistsError.
//
// A missing bucket is created, so a bucket wiped at run time heals itself.
func (s *Store) Put(ctx context.Context, name string, body []byte, digest string) error {
	return s.PutStream(ctx, name, bytes.NewReader(body), int64(len(body)), digest)
}

// PutStream is Put for content that need not be in memory. body must hold
// exactly size bytes and is read from its start, more than once if needed.
func (s *Store) PutStream(ctx context.Context, name string, body io.ReadSeeker, size int64, digest string) error {
	if err := checkInput(name, digest); err != nil {
		return err
	}
	for range rounds {
		var opts minio.PutObjectOptions
		opts.SetMatchETagExcept("*")
		err := s.write(ctx, name, body, size, digest, opts)
		if err == nil || !conflict(err) {
			return err
		}
		done, err := s.settle(ctx, name, body, size, digest)
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("store object %q: others kept writing the same name, try again", name)
}

// Replace stores body under name whatever the name holds.
func (s *Store) Replace(ctx context.Context, name string, body []byte, digest string) error {
	if err := checkInput(name, digest); err != nil {
		return err
	}
	return s.write(ctx, name, bytes.NewReader(body), int64(len(body)), digest, minio.PutObjectOptions{})
}

// Touch makes an object young again for Sweep, by writing it once more if it
// is older than 15 minutes. It is for a caller that found an object it needs
// by ErrExists, so without having stored it.
func (s *Store) Touch(ctx context.Context, name string, limit int64) error {
	object, err := s.Stat(ctx, name)
	if err != nil || time.Since(object.Modified) < refreshAfter {
		return err
	}
	body, err := s.Get(ctx, name, "", limit)
	if err != nil {
		return err
	}
	return s.Replace(ctx, name, body, Digest(body))
}

// settle decides what an occupied name means. done says that the content is
// in place; neither done nor an error means to try again.
func (s *Store) settle(ctx context.Context, name string, body io.ReadSeeker, size int64, digest string) (bool, error) {
	info, err := s.client.StatObject(ctx, s.bucket, name, minio.StatObjectOptions{})
	if err = s.fail("look up", name, err); err != nil {
		return false, ignoreMissing(err)
	}
	found, err := s.verify(ctx, name)
	switch {
	case errors.Is(err, ErrCorrupt):
		return s.overwrite(ctx, name, body, size, digest, info.ETag)
	case err != nil:
		return false, ignoreMissing(err)
	case found != digest:
		return false, &ExistsError{Name: name, Digest: found}
	case time.Since(info.LastModified) > refreshAfter:
		return s.overwrite(ctx, name, body, size, digest, info.ETag)
	}
	return true, nil
}

// overwrite replaces the object with this ETag; another ETag means that
// somebody else was faster, and to look again.
func (s *Store) overwrite(ctx context.Context, name string, body io.ReadSeeker, size int64, digest, etag string) (bool, error) {
	var opts minio.PutObjectOptions
	opts.SetMatchETag(etag)
	err := s.write(ctx, name, body, size, digest, opts)
	if err != nil && (conflict(err) || errors.Is(err, ErrNotFound)) {
		return false, nil
	}
	return err == nil, err
}

// verify reads an object to its end and returns the digest that it proved.
func (s *Store) verify(ctx context.Context, name string) (string, error) {
	body, object, err := s.open(ctx, name, "")
	if err != nil {
		return "", err
	}
	defer func() { _ = body.Close() }() // it was only read
	if _, err := io.Copy(io.Discard, body); err != nil {
		return "", fmt.Errorf("verify object %q: %w", name, err)
	}
	return object.Digest, nil
}

// write sends one PUT, and a second one if the bucket had to be created.
func (s *Store) write(ctx context.Context, name string, body io.ReadSeeker, size int64, digest string, opts minio.PutObjectOptions) error {
	opts.UserMetadata = map[string]string{digestKey: digest}
	opts.ContentType = "application/octet-stream"
	opts.DisableContentSha256 = true // no chunked signature: the digest signs the whole payload
	err := s.send(ctx, name, body, size, digest, opts)
	if code(err) == minio.NoSuchBucket {
		if err := s.EnsureBucket(ctx); err != nil {
			return err
		}
		err = s.send(ctx, name, body, size, digest, opts)
	}
	return s.fail("store", name, err)
}

// send uploads in a single PUT, which is atomic and honours the condition on
// every server. The server refuses bytes that are not those of the digest.
func (s *Store) send(ctx context.Context, name string, body io.ReadSeeker, size int64, digest string, opts minio.PutObjectOptions) error {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind content: %w", err)
	}
	core := minio.Core{Client: s.client}
	_, err := core.PutObject(ctx, s.bucket, name, body, size, "", strings.TrimPrefix(digest, digestPrefix), opts)
	return err
}

// conflict says that a condition of a write did not hold: 412, or 409 when
// another conditional write to the name was under way.
func conflict(err error) bool {
	c := code(err)
	return c == minio.PreconditionFailed || c == "ConditionalRequestConflict"
}

func ignoreMissing(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func checkInput(name, digest string) error {
	if !fs.ValidPath(name) || name == "." {
		return fmt.Errorf("object name %q must be a clean relative path", name)
	}
	hex, ok := strings.CutPrefix(digest, digestPrefix)
	if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return fmt.Errorf("object %q: digest %q is not sha256:<64 hex digits>", name, digest)
	}
	return nil
}
