package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// Store reads and writes the objects of one bucket. It is safe for concurrent
// use and holds nothing but connections.
type Store struct {
	client    *minio.Client
	transport *http.Transport
	bucket    string
	region    string
}

// Object describes a stored object.
type Object struct {
	// Name is the object's name in the bucket.
	Name string
	// Size is in bytes.
	Size int64
	// Digest is the digest the object was stored with; List does not fill it.
	Digest string
	// Modified is when the object was last written, by the store's clock.
	Modified time.Time
}

// Digest returns the digest of b in the form every method takes: "sha256:"
// and 64 lowercase hex digits.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return digestPrefix + hex.EncodeToString(sum[:])
}

const digestPrefix = "sha256:"

// Open connects to the bucket and creates it if it is missing.
func Open(ctx context.Context, c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	transport, err := c.transport()
	if err != nil {
		return nil, fmt.Errorf("open S3 client for %s: %w", c.Endpoint, err)
	}
	client, err := c.client(transport)
	if err != nil {
		return nil, fmt.Errorf("open S3 client for %s: %w", c.Endpoint, err)
	}
	s := &Store{client: client, transport: transport, bucket: c.Bucket, region: c.region()}
	if err := s.EnsureBucket(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the connections that no request uses. A server that stops gracefully
// waits for them.
func (s *Store) Close() { s.transport.CloseIdleConnections() }

// EnsureBucket creates the bucket unless it exists. Credentials that may use
// the bucket but neither see nor create it are accepted if a listing works.
func (s *Store) EnsureBucket(ctx context.Context) error {
	exists, err := s.client.BucketExists(ctx, s.bucket)
	if exists {
		return nil
	}
	if err != nil && code(err) != minio.AccessDenied {
		return fmt.Errorf("look for bucket %s: %w; %s", s.bucket, err, s.remedy(err))
	}
	err = s.client.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{Region: s.region})
	switch code(err) {
	case "", minio.BucketAlreadyOwnedByYou, minio.BucketAlreadyExists:
		return nil
	case minio.AccessDenied:
		if _, listErr := s.first(ctx, ""); listErr == nil {
			return nil
		}
	}
	return fmt.Errorf("create bucket %s: %w; %s", s.bucket, err, s.remedy(err))
}

// Check reports whether the bucket can be reached, for a readiness probe.
func (s *Store) Check(ctx context.Context) error {
	if _, err := s.client.BucketExists(ctx, s.bucket); err != nil {
		return fmt.Errorf("reach bucket %s: %w", s.bucket, err)
	}
	return nil
}

// Stat describes an object without reading it.
func (s *Store) Stat(ctx context.Context, name string) (Object, error) {
	info, err := s.client.StatObject(ctx, s.bucket, name, minio.StatObjectOptions{})
	if err != nil {
		return Object{}, s.fail("look up", name, err)
	}
	return described(name, info), nil
}

// Delete removes an object. One that is not there is no error.
func (s *Store) Delete(ctx context.Context, name string) error {
	err := s.client.RemoveObject(ctx, s.bucket, name, minio.RemoveObjectOptions{})
	if err = s.fail("delete", name, err); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// digestKey is the user metadata that holds an object's digest.
const digestKey = "Sluice-Digest"

func described(name string, info minio.ObjectInfo) Object {
	return Object{
		Name: name, Size: info.Size, Digest: storedDigest(info), Modified: info.LastModified,
	}
}

// storedDigest finds the digest in the metadata, whose keys servers return in
// any case.
func storedDigest(info minio.ObjectInfo) string {
	for k, v := range info.UserMetadata {
		if strings.EqualFold(k, digestKey) {
			return v
		}
	}
	return ""
}

// fail names the action and the object in an error of the client, and turns a
// missing object or bucket into ErrNotFound.
func (s *Store) fail(action, name string, err error) error {
	switch code(err) {
	case "":
		return nil
	case minio.NoSuchKey, minio.NoSuchBucket, "NotFound":
		return notFound(name)
	}
	return fmt.Errorf("%s object %q: %w; %s", action, name, err, s.remedy(err))
}

// remedy says what to look at when the object store refuses or does not answer.
func (s *Store) remedy(err error) string {
	where := fmt.Sprintf("bucket %s of the object store %s", s.bucket, s.client.EndpointURL().Host)
	switch code(err) {
	case minio.AccessDenied:
		return "let the key of s3-access-key read and write " + where
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return "check s3-access-key and s3-secret-key for " + where
	case "unknown":
		return "see that " + where + " is up and can be reached"
	}
	return "the log of the server that has " + where + " says why"
}

// code returns the S3 error code of err, "" for nil, and a word that is no
// code for an error that did not come from the server.
func code(err error) string {
	if err == nil {
		return ""
	}
	var response minio.ErrorResponse
	if errors.As(err, &response) && response.Code != "" {
		return response.Code
	}
	return "unknown"
}
