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
func (k *Kind) index(ctx context.Context, o *sourcev1.Bucket, from store) (*index, error) {
	listed, rules, err := list(ctx, o, from)
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
func list(ctx context.Context, o *sourcev1.Bucket, from store) ([]object, string, error) {
	var all []object
	name := o.Spec.BucketName
	_, amongThem := strings.CutPrefix(sourceignore.IgnoreFile, o.Spec.Prefix)
	rules := !amongThem // it may be there, though it is not listed
	err := from.list(ctx, o.Spec.Prefix, func(l object) {
		if l.key == sourceignore.IgnoreFile {
			rules = true
			return
		}
		all = append(all, l)
	})
	switch {
	case errors.Is(err, errNoBucket):
		return nil, "", fmt.Errorf("bucket '%s' not found", name)
	case err != nil:
		return nil, "", fmt.Errorf("failed to confirm existence of '%s' bucket: %w", name, err)
	case !rules:
		return all, "", nil
	}
	text, err := readAll(ctx, from, object{key: sourceignore.IgnoreFile}, maxIgnoreFile)
	switch {
	case errors.Is(err, errNoObject):
		return all, "", nil
	case errors.Is(err, pack.ErrLimit):
		return nil, "", fmt.Errorf("read %s of bucket '%s': it has more than %d bytes: %w", sourceignore.IgnoreFile, name, maxIgnoreFile, err)
	case err != nil:
		return nil, "", fmt.Errorf("read %s of bucket '%s': %w", sourceignore.IgnoreFile, name, err)
	}
	return all, string(text), nil
}
