package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// index is what of a bucket becomes the artifact.
type index struct {
	// objects in the order of their paths.
	objects []object
	// revision is sha256:<hex> of the keys and etags.
	revision string
}

// index lists the bucket.
func (k *Kind) index(ctx context.Context, o *sourcev1.Bucket, from *connection) (*index, error) {
	key, err := flight.KeyOf(from.access, o.Spec.Prefix)
	if err != nil {
		return nil, err
	}
	answer, err := k.listings.Do(ctx, key, func() (listing, error) { return list(ctx, o, from, k.config.Limits) })
	if err != nil {
		return nil, err
	}
	texts := []string{answer.Value.rules}
	if o.Spec.Ignore != nil {
		texts = append(texts, *o.Spec.Ignore)
	}
	ignore, err := pack.Rules(texts...)
	if err != nil {
		return nil, err
	}
	found := &index{}
	var size int64
	for _, l := range answer.Value.objects {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if ignore.Match(l.key, false) {
			continue
		}
		if l.path, err = pack.Within(l.key); err != nil || l.path == "." {
			return nil, fmt.Errorf("object %q of bucket '%s' cannot be a file of an artifact: rename it, or leave it out with spec.ignore", l.key, o.Spec.BucketName)
		}
		if l.size < 0 {
			return nil, fmt.Errorf("bucket '%s' lists object %q with %d bytes: its server counts wrong", o.Spec.BucketName, l.key, l.size)
		}
		if l.size > k.config.Limits.Bytes-size || len(found.objects) >= k.config.Limits.Entries {
			return nil, fmt.Errorf("bucket '%s' has more than %d bytes or %d objects: leave some out with spec.prefix or spec.ignore: %w",
				o.Spec.BucketName, k.config.Limits.Bytes, k.config.Limits.Entries, pack.ErrLimit)
		}
		size += l.size
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

// spare is how many times as many objects are listed as an artifact may have: the ignore rules
// may leave out the rest. maxListed is how many bytes their keys and etags have together.
const (
	spare     = 4
	maxListed = 64 << 20
)

// listing are the objects below a prefix but folders, and the text of the ignore file at the
// bucket's root. It may be shared, and is only read.
type listing struct {
	objects []object
	rules   string
}

func list(ctx context.Context, o *sourcev1.Bucket, from store, limits pack.Limits) (listing, error) {
	var all []object
	size := 0
	name := o.Spec.BucketName
	_, amongThem := strings.CutPrefix(sourceignore.IgnoreFile, o.Spec.Prefix)
	rules := !amongThem // it may be there, though it is not listed
	bounded, end := context.WithCancelCause(ctx)
	defer end(nil)
	err := from.list(bounded, o.Spec.Prefix, func(l object) {
		if l.key == sourceignore.IgnoreFile {
			rules = true
			return
		}
		if size += len(l.key) + len(l.etag); size > maxListed || len(all) == spare*limits.Entries {
			end(fmt.Errorf("bucket '%s' lists more than %d objects, or %d bytes of their keys and etags: leave some out with spec.prefix: %w",
				name, spare*limits.Entries, maxListed, pack.ErrLimit))
			return
		}
		all = append(all, l)
	})
	if cause := context.Cause(bounded); errors.Is(cause, pack.ErrLimit) {
		return listing{}, cause
	}
	switch {
	case errors.Is(err, errNoBucket):
		return listing{}, fmt.Errorf("bucket '%s' not found", name)
	case err != nil:
		return listing{}, fmt.Errorf("failed to confirm existence of '%s' bucket: %w", name, err)
	case !rules:
		return listing{objects: all}, nil
	}
	text, err := readAll(ctx, from, object{key: sourceignore.IgnoreFile}, maxIgnoreFile)
	switch {
	case errors.Is(err, errNoObject):
		return listing{objects: all}, nil
	case errors.Is(err, pack.ErrLimit):
		return listing{}, fmt.Errorf("read %s of bucket '%s': it has more than %d bytes: %w", sourceignore.IgnoreFile, name, maxIgnoreFile, err)
	case err != nil:
		return listing{}, fmt.Errorf("read %s of bucket '%s': %w", sourceignore.IgnoreFile, name, err)
	}
	return listing{objects: all, rules: string(text)}, nil
}
