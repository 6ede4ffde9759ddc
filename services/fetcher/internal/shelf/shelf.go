// Package shelf keeps artifacts in object storage, each under the digest of its
// content in the folder of its source.
package shelf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/fluxcd/pkg/apis/meta"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/spool"
)

// Store is object storage.
type Store interface {
	Stat(ctx context.Context, name string) (blob.Object, error)
	Reader(ctx context.Context, name, wantDigest string) (io.ReadCloser, error)
	PutStream(ctx context.Context, name string, body io.ReadSeeker, size int64, digest string) error
	Delete(ctx context.Context, name string) error
	List(ctx context.Context, prefix string) ([]blob.Object, error)
}

// Shelf is where artifacts are. It is safe for concurrent use.
type Shelf struct {
	Store Store
	// Scratch is a folder for what is on its way to storage, so that no large archive
	// need fit in memory.
	Scratch string
	// Limits of one artifact.
	Limits pack.Limits
}

// Archive stores files, except those that ignore matches, as a source's artifact.
func (s Shelf) Archive(ctx context.Context, key events.Key, files []pack.File, ignore *pack.Ignore) (pack.Result, error) {
	return s.keep(ctx, key, func(w io.Writer) (pack.Result, error) { return pack.Archive(ctx, w, files, ignore, s.Limits) })
}

// Copy stores what raw holds as a source's artifact, as it is. A want that is not empty is the
// digest it must have: anything else is a blob.ErrCorrupt, and is not stored.
func (s Shelf) Copy(ctx context.Context, key events.Key, raw io.Reader, want string) (pack.Result, error) {
	return s.keep(ctx, key, func(w io.Writer) (pack.Result, error) {
		result, err := pack.Copy(ctx, w, raw, s.Limits)
		if err == nil && want != "" && result.Digest != want {
			err = fmt.Errorf("content has digest %s, not %s: %w", result.Digest, want, blob.ErrCorrupt)
		}
		return result, err
	})
}

func (s Shelf) keep(ctx context.Context, key events.Key, write func(io.Writer) (pack.Result, error)) (result pack.Result, err error) {
	scratch := spool.New(s.Scratch)
	defer func() { err = errors.Join(err, scratch.Close()) }()
	if result, err = write(scratch); err != nil {
		return result, err
	}
	body, err := scratch.Content()
	if err != nil {
		return result, err
	}
	return result, s.put(ctx, key, body, result)
}

// put stores an artifact. Content under its own digest's name that is not it can
// only be damaged, and is replaced.
func (s Shelf) put(ctx context.Context, key events.Key, body io.ReadSeeker, r pack.Result) error {
	name := BlobName(key, r.Digest)
	err := s.Store.PutStream(ctx, name, body, r.Size, r.Digest)
	if errors.Is(err, blob.ErrExists) {
		if err = s.Store.Delete(ctx, name); err == nil {
			err = s.Store.PutStream(ctx, name, body, r.Size, r.Digest)
		}
	}
	return err
}

// Standing is what became of an artifact in storage.
type Standing int

// An artifact is whole, or absent, or was damaged: then it has been deleted.
const (
	Whole Standing = iota
	Absent
	Damaged
)

// Look looks for an artifact of a source: at its digest and size, and if thorough at all of
// its content.
func (s Shelf) Look(ctx context.Context, key events.Key, a *meta.Artifact, thorough bool) (Standing, error) {
	name := BlobName(key, a.Digest)
	object, err := s.Store.Stat(ctx, name)
	damaged := err == nil && (object.Digest != a.Digest || a.Size != nil && *a.Size != object.Size)
	if err == nil && !damaged && thorough {
		if err = s.readThrough(ctx, name, a.Digest); errors.Is(err, blob.ErrCorrupt) {
			damaged, err = true, nil
		}
	}
	switch {
	case damaged:
		if err := s.Store.Delete(ctx, name); err != nil {
			return Damaged, fmt.Errorf("failed to delete damaged artifact: %w", err)
		}
		return Damaged, nil
	case errors.Is(err, blob.ErrNotFound):
		return Absent, nil
	case err != nil:
		return Absent, fmt.Errorf("failed to look up artifact in storage: %w", err)
	}
	return Whole, nil
}

func (s Shelf) readThrough(ctx context.Context, name, digest string) error {
	body, err := s.Store.Reader(ctx, name, digest)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, body)
	return errors.Join(err, body.Close())
}

// Tidy deletes a source's artifacts that are neither current nor among the others that stay:
// the one that was current, which somebody may be about to read, and the newest.
func (s Shelf) Tidy(ctx context.Context, key events.Key, current, was string, others int) error {
	objects, err := s.Store.List(ctx, Prefix(key))
	if err != nil {
		return fmt.Errorf("list artifacts of %s: %w", key, err)
	}
	keep, first := BlobName(key, current), BlobName(key, was)
	objects = slices.DeleteFunc(objects, func(o blob.Object) bool { return o.Name == keep })
	slices.SortFunc(objects, func(a, b blob.Object) int {
		switch first {
		case a.Name:
			return -1
		case b.Name:
			return 1
		}
		return b.Modified.Compare(a.Modified)
	})
	var errs []error
	for _, object := range objects[min(len(objects), others):] {
		errs = append(errs, s.Store.Delete(ctx, object.Name))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete old artifacts of %s: %w", key, err)
	}
	return nil
}

// Remove deletes all artifacts of a source.
func (s Shelf) Remove(ctx context.Context, key events.Key) error {
	objects, err := s.Store.List(ctx, Prefix(key))
	if err != nil {
		return fmt.Errorf("remove artifacts of %s: %w", key, err)
	}
	var errs []error
	for _, object := range objects {
		errs = append(errs, s.Store.Delete(ctx, object.Name))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove artifacts of %s: %w", key, err)
	}
	return nil
}
