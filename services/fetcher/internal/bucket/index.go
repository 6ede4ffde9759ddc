package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/minio/minio-go/v7"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// maxIgnoreFile bounds the ignore file, in bytes.
const maxIgnoreFile = 1 << 20

// object is an object of a bucket.
type object struct {
	key, etag string
	// path is where it is in the artifact.
	path string
	size int64
}

// index is what of a bucket becomes the artifact.
type index struct {
	// objects in the order of their paths.
	objects []object
	// revision is sha256:<hex> of the keys and etags.
	revision string
}

// index lists the bucket.
func (k *Kind) index(ctx context.Context, o *sourcev1.Bucket, store *minio.Core) (*index, error) {
	listed, rules, err := k.list(ctx, o, store)
	if err != nil {
		return nil, err
	}
	texts := []string{rules}
	if o.Spec.Ignore != nil {
		texts = append(texts, *o.Spec.Ignore)
	}
	ignore := pack.Rules(texts...)
	found := &index{}
	var size int64
	for _, l := range listed {
		if ignore.Match(l.key, false) {
			continue
		}
		if l.path, err = pack.Within(l.key); err != nil || l.path == "." {
			return nil, fmt.Errorf("object %q of bucket '%s' cannot be a file of an artifact: rename it, or leave it out with spec.ignore", l.key, o.Spec.BucketName)
		}
		if size += l.size; size > k.config.Limits.Bytes || len(found.objects) >= k.config.Limits.Entries {
			return nil, fmt.Errorf("bucket '%s' has more than %d bytes or %d objects: leave some out with spec.prefix or spec.ignore: %w",
				o.Spec.BucketName, k.config.Limits.Bytes, k.config.Limits.Entries, pack.ErrLimit)
		}
		found.objects = append(found.objects, l)
	}
	slices.SortFunc(found.objects, func(a, b object) int { return strings.Compare(a.key, b.key) })
	hash := sha256.New()
	for _, l := range found.objects {
		fmt.Fprintf(hash, "%s %s\n", l.key, l.etag)
	}
	found.revision = "sha256:" + hex.EncodeToString(hash.Sum(nil))
	slices.SortFunc(found.objects, func(a, b object) int {
		return slices.Compare(strings.Split(a.path, "/"), strings.Split(b.path, "/"))
	})
	for n, l := range found.objects[min(1, len(found.objects)):] {
		if before := found.objects[n]; l.path == before.path || strings.HasPrefix(l.path, before.path+"/") {
			return nil, fmt.Errorf("objects %q and %q of bucket '%s' need one path to be a file and more: rename one, or leave it out with spec.ignore",
				before.key, l.key, o.Spec.BucketName)
		}
	}
	return found, nil
}

// list returns the objects below the prefix but folders, and the text of the ignore file
// at the bucket's root.
func (k *Kind) list(ctx context.Context, o *sourcev1.Bucket, store *minio.Core) ([]object, string, error) {
	var all []object
	name := o.Spec.BucketName
	_, amongThem := strings.CutPrefix(sourceignore.IgnoreFile, o.Spec.Prefix)
	rules := !amongThem // it may be there, though it is not listed
	for info := range store.Client.ListObjects(ctx, name, minio.ListObjectsOptions{Prefix: o.Spec.Prefix, Recursive: true}) {
		switch {
		case minio.ToErrorResponse(info.Err).Code == minio.NoSuchBucket:
			return nil, "", fmt.Errorf("bucket '%s' not found", name)
		case info.Err != nil:
			return nil, "", fmt.Errorf("failed to confirm existence of '%s' bucket: %w", name, info.Err)
		case info.Key == sourceignore.IgnoreFile:
			rules = true
		case !strings.HasSuffix(info.Key, "/"):
			all = append(all, object{key: info.Key, etag: info.ETag, size: info.Size})
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, "", fmt.Errorf("list bucket '%s': %w", name, err)
	}
	if !rules {
		return all, "", nil
	}
	body, _, _, err := store.GetObject(ctx, name, sourceignore.IgnoreFile, minio.GetObjectOptions{})
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return all, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s of bucket '%s': %w", sourceignore.IgnoreFile, name, err)
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxIgnoreFile+1))
	if err == nil && len(text) > maxIgnoreFile {
		err = fmt.Errorf("it has more than %d bytes: %w", maxIgnoreFile, pack.ErrLimit)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s of bucket '%s': %w", sourceignore.IgnoreFile, name, err)
	}
	return all, string(text), nil
}
