// Package blobtest is the contract of package blob as a test suite, to be run
// against every S3 service that the project claims to work with.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sluice-gitops/sluice/internal/blob"
)

// Suite runs the contract against the service of c. It creates a bucket of its
// own per case, with c.Bucket as the start of its name, and removes it.
func Suite(t *testing.T, c blob.Config) {
	t.Helper()
	cases := []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"what was put comes back", roundTrip},
		{"an empty object is an object", empty},
		{"a missing object is ErrNotFound", missing},
		{"a read beyond the limit is refused", limit},
		{"the same content twice is success", same},
		{"other content is refused and Replace overwrites", other},
		{"a damaged object is noticed and healed", damaged},
		{"an object without a digest is noticed and healed", undigested},
		{"racing writers agree", race},
		{"a wiped bucket heals", wiped},
		{"a sweep keeps the claimed and the young", sweep},
		{"a listing has the prefix only, in order", list},
		{"malformed names and digests are refused", malformed},
		{"content that is not its digest's is refused", misnamed},
		{"an ended context ends a request", ended},
	}
	for i, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := c
			c.Bucket = fmt.Sprintf("%s-%d-%d", c.Bucket, i, time.Now().UnixNano()%1e9)
			tc.run(t, open(t, c))
		})
	}
}

// bench is a store under test and a raw client to tamper behind its back.
type bench struct {
	*blob.Store
	raw    *minio.Client
	bucket string
}

const maxSize = 1 << 20

func open(t *testing.T, c blob.Config) *bench {
	t.Helper()
	s, err := blob.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	raw, err := minio.New(c.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), Secure: c.TLS, Region: c.Region,
	})
	if err != nil {
		t.Fatalf("open raw client: %v", err)
	}
	b := &bench{Store: s, raw: raw, bucket: c.Bucket}
	t.Cleanup(func() { b.wipe(t) })
	return b
}

// wipe removes the bucket and all that is in it.
func (b *bench) wipe(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for info := range b.raw.ListObjects(ctx, b.bucket, minio.ListObjectsOptions{Recursive: true}) {
		if info.Err != nil {
			t.Errorf("list to wipe: %v", info.Err)
			return
		}
		if err := b.raw.RemoveObject(ctx, b.bucket, info.Key, minio.RemoveObjectOptions{}); err != nil {
			t.Errorf("wipe %s: %v", info.Key, err)
		}
	}
	if err := b.raw.RemoveBucket(ctx, b.bucket); err != nil {
		t.Errorf("remove bucket: %v", err)
	}
}

// tamper writes bytes with any digest in the metadata, or with none.
func (b *bench) tamper(t *testing.T, name string, body []byte, digest string) {
	t.Helper()
	opts := minio.PutObjectOptions{}
	if digest != "" {
		opts.UserMetadata = map[string]string{"Sluice-Digest": digest}
	}
	if _, err := b.raw.PutObject(t.Context(), b.bucket, name, bytes.NewReader(body), int64(len(body)), opts); err != nil {
		t.Fatalf("tamper with %s: %v", name, err)
	}
}

func (b *bench) put(t *testing.T, name string, body []byte) {
	t.Helper()
	if err := b.Put(t.Context(), name, body, blob.Digest(body)); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

func (b *bench) want(t *testing.T, name string, body []byte) {
	t.Helper()
	got, err := b.Get(t.Context(), name, blob.Digest(body), maxSize)
	if err != nil {
		t.Fatalf("get %s: %v", name, err)
	}
	if !bytes.Equal(got, body) {
		t.Fatalf("get %s: got %d bytes, want %d", name, len(got), len(body))
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func roundTrip(t *testing.T, b *bench) {
	body := bytes.Repeat([]byte("sluice "), 50_000)
	b.put(t, "artifacts/git/ns/app.v1/x.tar.gz", body)
	b.want(t, "artifacts/git/ns/app.v1/x.tar.gz", body)

	r, err := b.Reader(t.Context(), "artifacts/git/ns/app.v1/x.tar.gz", "")
	if err != nil {
		t.Fatalf("reader: %v", err)
	}
	streamed, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(streamed, body) {
		t.Errorf("stream: %d bytes, error %v", len(streamed), err)
	}
	got, err := b.Stat(t.Context(), "artifacts/git/ns/app.v1/x.tar.gz")
	if err != nil {
		t.Fatalf("stat: %v", err)
	}
	if age := time.Since(got.Modified); age < -time.Minute || age > 5*time.Minute {
		t.Errorf("modified %s ago", age)
	}
	got.Modified = time.Time{}
	want := blob.Object{Name: "artifacts/git/ns/app.v1/x.tar.gz", Size: int64(len(body)), Digest: blob.Digest(body)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stat (-want +got):\n%s", diff)
	}
}

func empty(t *testing.T, b *bench) {
	b.put(t, "e", nil)
	b.want(t, "e", nil)
}

func missing(t *testing.T, b *bench) {
	_, err := b.Get(t.Context(), "nope/x", "", maxSize)
	wantErr(t, "get", err, blob.ErrNotFound)
	_, err = b.Reader(t.Context(), "nope/x", "")
	wantErr(t, "reader", err, blob.ErrNotFound)
	_, err = b.Stat(t.Context(), "nope/x")
	wantErr(t, "stat", err, blob.ErrNotFound)
	wantErr(t, "touch", b.Touch(t.Context(), "nope/x", maxSize), blob.ErrNotFound)
	wantErr(t, "delete", b.Delete(t.Context(), "nope/x"), nil)
}

func limit(t *testing.T, b *bench) {
	b.put(t, "big", make([]byte, 1001))
	_, err := b.Get(t.Context(), "big", "", 1000)
	wantErr(t, "get", err, blob.ErrTooLarge)
	if _, err := b.Get(t.Context(), "big", "", 1001); err != nil {
		t.Errorf("get at the limit: %v", err)
	}
}

func same(t *testing.T, b *bench) {
	b.put(t, "a", []byte("one"))
	before, err := b.Stat(t.Context(), "a")
	wantErr(t, "stat", err, nil)
	b.put(t, "a", []byte("one"))
	after, err := b.Stat(t.Context(), "a")
	wantErr(t, "stat", err, nil)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("a young, identical object was written again (-before +after):\n%s", diff)
	}
	wantErr(t, "touch", b.Touch(t.Context(), "a", maxSize), nil)
}

func other(t *testing.T, b *bench) {
	// large, so that the refusal comes while the body is still under way
	one, two := []byte("one"), bytes.Repeat([]byte("two"), 200_000)
	b.put(t, "a", one)
	err := b.Put(t.Context(), "a", two, blob.Digest(two))
	wantErr(t, "put", err, blob.ErrExists)
	var exists *blob.ExistsError
	if !errors.As(err, &exists) || exists.Digest != blob.Digest(one) || exists.Name != "a" {
		t.Errorf("error %v does not say what exists", err)
	}
	b.want(t, "a", one)
	_, err = b.Get(t.Context(), "a", blob.Digest(two), maxSize)
	wantErr(t, "get what is not there", err, blob.ErrCorrupt)
	wantErr(t, "replace", b.Replace(t.Context(), "a", two, blob.Digest(two)), nil)
	b.want(t, "a", two)
}

func damaged(t *testing.T, b *bench) {
	good, bad := []byte("good content"), []byte("evil content")
	b.tamper(t, "a", bad, blob.Digest(good))
	_, err := b.Get(t.Context(), "a", blob.Digest(good), maxSize)
	wantErr(t, "get", err, blob.ErrCorrupt)
	var corrupt *blob.CorruptError
	if !errors.As(err, &corrupt) || corrupt.Name != "a" || corrupt.Got != blob.Digest(bad) {
		t.Errorf("error %v does not name the object and what it holds", err)
	}
	r, err := b.Reader(t.Context(), "a", "")
	wantErr(t, "reader", err, nil)
	_, err = io.ReadAll(r)
	wantErr(t, "stream", err, blob.ErrCorrupt)
	wantErr(t, "close", r.Close(), nil)
	b.put(t, "a", good)
	b.want(t, "a", good)
}

func undigested(t *testing.T, b *bench) {
	body := []byte("put there by hand")
	b.tamper(t, "a", body, "")
	_, err := b.Get(t.Context(), "a", "", maxSize)
	wantErr(t, "get without anything to verify by", err, blob.ErrCorrupt)
	b.put(t, "a", []byte("ours"))
	b.want(t, "a", []byte("ours"))
}

func race(t *testing.T, b *bench) {
	const writers = 8
	errs := make([]error, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			body := fmt.Appendf(nil, "content %d", i%2)
			errs[i] = b.Put(t.Context(), "a", body, blob.Digest(body))
		})
	}
	all.Wait()
	won := 0
	for i, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, blob.ErrExists):
			t.Errorf("writer %d: %v", i, err)
		}
	}
	if won != writers/2 {
		t.Errorf("%d writers were told success, want the %d of one content", won, writers/2)
	}
	if _, err := b.Get(t.Context(), "a", "", maxSize); err != nil {
		t.Errorf("get after the race: %v", err)
	}
}

func wiped(t *testing.T, b *bench) {
	b.put(t, "dir/a", []byte("one"))
	b.wipe(t)
	_, err := b.Get(t.Context(), "dir/a", "", maxSize)
	wantErr(t, "get", err, blob.ErrNotFound)
	objects, err := b.List(t.Context(), "")
	if err != nil || len(objects) != 0 {
		t.Errorf("list: %v, error %v", objects, err)
	}
	wantErr(t, "delete", b.Delete(t.Context(), "dir/a"), nil)
	if n, err := b.Sweep(t.Context(), "", func(string) bool { return false }, 0); n != 0 || err != nil {
		t.Errorf("sweep: %d, error %v", n, err)
	}
	b.put(t, "dir/a", []byte("one"))
	b.want(t, "dir/a", []byte("one"))
}

func sweep(t *testing.T, b *bench) {
	for _, name := range []string{"r/keep", "r/drop", "r/deep/drop", "else/drop"} {
		b.put(t, name, []byte(name))
	}
	keep := func(name string) bool { return name == "r/keep" }
	if n, err := b.Sweep(t.Context(), "r/", keep, time.Hour); n != 0 || err != nil {
		t.Errorf("sweep of young objects: %d, error %v", n, err)
	}
	// LastModified has whole seconds on some servers, and may lie ahead.
	if n, err := b.Sweep(t.Context(), "r/", keep, -time.Minute); n != 2 || err != nil {
		t.Errorf("sweep: %d, error %v", n, err)
	}
	if diff := cmp.Diff([]string{"else/drop", "r/keep"}, names(t, b, "")); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}

func list(t *testing.T, b *bench) {
	for _, name := range []string{"b/2", "a/1", "b/1/x", "bb/3"} {
		b.put(t, name, []byte(name))
	}
	if diff := cmp.Diff([]string{"b/1/x", "b/2"}, names(t, b, "b/")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}

func names(t *testing.T, b *bench, prefix string) []string {
	t.Helper()
	objects, err := b.List(t.Context(), prefix)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	var names []string
	for _, o := range objects {
		names = append(names, o.Name)
	}
	return names
}

func misnamed(t *testing.T, b *bench) {
	if err := b.Put(t.Context(), "a", []byte("one"), blob.Digest([]byte("two"))); err == nil {
		t.Error("content was stored under the digest of another")
	}
	_, err := b.Stat(t.Context(), "a")
	wantErr(t, "stat", err, blob.ErrNotFound)
}

func malformed(t *testing.T, b *bench) {
	good := blob.Digest(nil)
	cases := []struct{ name, digest, why string }{
		{"", good, "no name"},
		{"/a", good, "an absolute name"},
		{"a/", good, "a folder"},
		{"a/../b", good, "a name that climbs"},
		{"a", "", "no digest"},
		{"a", good[:70], "a short digest"},
		{"a", "md5:" + good[7:], "another algorithm"},
	}
	for _, tc := range cases {
		if err := b.Put(t.Context(), tc.name, nil, tc.digest); err == nil {
			t.Errorf("%s was accepted", tc.why)
		}
	}
}

func ended(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Get(ctx, "a", "", maxSize)
	wantErr(t, "get", err, context.Canceled)
	wantErr(t, "put", b.Put(ctx, "a", nil, blob.Digest(nil)), context.Canceled)
}
