package blob

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/minio/minio-go/v7"
)

// List returns the objects whose names start with prefix, in order of name,
// without their digests. A missing bucket is an empty one.
func (s *Store) List(ctx context.Context, prefix string) ([]Object, error) {
	var objects []Object
	for object, err := range s.All(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// All is List one object at a time, for buckets of any size. The iteration
// ends after the first error.
func (s *Store) All(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		opts := minio.ListObjectsOptions{Prefix: prefix, Recursive: true}
		for info := range s.client.ListObjectsIter(ctx, s.bucket, opts) {
			if code(info.Err) == minio.NoSuchBucket {
				return
			}
			if info.Err != nil {
				yield(Object{}, fmt.Errorf("list objects under %q: %w", prefix, info.Err))
				return
			}
			if !yield(described(info.Key, info), nil) {
				return
			}
		}
	}
}

// Sweep deletes the objects under prefix that keep does not claim and that
// were written at least minAge ago, and returns how many it deleted. An object
// that cannot be deleted does not stop the others; the errors are joined.
//
// minAge is what makes this safe beside running builds: they store first and
// record what they stored afterwards. Take much more than the longest build
// and the difference of the clocks, an hour at least: Put and Touch refresh
// only what is older than 15 minutes.
func (s *Store) Sweep(ctx context.Context, prefix string, keep func(name string) bool, minAge time.Duration) (int, error) {
	deleted := 0
	var errs []error
	for object, err := range s.All(ctx, prefix) {
		if err != nil {
			return deleted, errors.Join(append(errs, err)...)
		}
		if time.Since(object.Modified) < minAge || keep(object.Name) {
			continue
		}
		removed, err := s.sweepOne(ctx, object.Name, minAge)
		if err != nil {
			errs = append(errs, err)
		}
		if removed {
			deleted++
		}
	}
	return deleted, errors.Join(errs...)
}

// sweepOne looks at the age again right before it deletes: the listing may be
// older than a refresh.
func (s *Store) sweepOne(ctx context.Context, name string, minAge time.Duration) (bool, error) {
	object, err := s.Stat(ctx, name)
	if err != nil {
		return false, ignoreMissing(err)
	}
	if time.Since(object.Modified) < minAge {
		return false, nil
	}
	if err := s.Delete(ctx, name); err != nil {
		return false, err
	}
	return true, nil
}

// first returns the first object under prefix, to learn whether a listing is
// allowed at all.
func (s *Store) first(ctx context.Context, prefix string) (Object, error) {
	for object, err := range s.All(ctx, prefix) {
		return object, err
	}
	return Object{}, nil
}
