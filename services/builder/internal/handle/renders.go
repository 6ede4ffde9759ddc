package handle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/seal"
)

// keepRenders is how many renders of an object stay beside the one its log points to.
const keepRenders = 2

// maxSealed bounds a sealed render: it may be as large as a plain one.
const maxSealed = seal.MaxPlain + 1<<20

// rendersOf is the prefix of an object's renders in the bucket.
func rendersOf(cluster string, key events.Key) string {
	return fmt.Sprintf("renders/%s/%s/%s/%s/", cluster, key.Kind, key.Namespace, key.Name)
}

func (j *job) renderName(id string) string { return rendersOf(j.config.Cluster, j.key) + id }

// stored checks that a render is in the bucket and opens.
func (j *job) stored(ctx context.Context, id string) error {
	sealed, err := j.Bucket.Get(ctx, j.renderName(id), "", maxSealed)
	if err != nil {
		return err
	}
	_, err = j.ring.Open(j.identity(), id, sealed)
	return err
}

// isBroken says that a render must be stored again.
func isBroken(err error) bool {
	return errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) || errors.Is(err, blob.ErrTooLarge) ||
		errors.Is(err, seal.ErrForged) || errors.Is(err, seal.ErrFormat) || errors.Is(err, seal.ErrUnknownKey)
}

// store seals a render and puts it in the bucket. Its name is free, or holds the
// same content, sealed another time, or something broken, which is replaced.
func (j *job) store(ctx context.Context, id string, plain []byte) error {
	name := j.renderName(id)
	sealed, err := j.ring.Seal(j.identity(), id, plain)
	if err != nil {
		return err
	}
	err = j.Bucket.Put(ctx, name, sealed, blob.Digest(sealed))
	if !errors.Is(err, blob.ErrExists) {
		return err
	}
	switch err := j.stored(ctx, id); {
	case isBroken(err):
		return j.Bucket.Replace(ctx, name, sealed, blob.Digest(sealed))
	case err != nil:
		return err
	}
	return j.Bucket.Touch(ctx, name, maxSealed)
}

// tidy removes the renders of the object that nothing should need any more.
func (j *job) tidy(ctx context.Context, id string) error {
	renders, err := j.Bucket.List(ctx, rendersOf(j.config.Cluster, j.key))
	if err != nil {
		return err
	}
	keep := KeepNewest(renders, j.renderName(id))
	var errs []error
	for _, r := range renders {
		if !keep[r.Name] {
			errs = append(errs, j.Bucket.Delete(ctx, r.Name))
		}
	}
	return errors.Join(errs...)
}

// KeepNewest names the renders of one object that stay: the current one and the
// newest others.
func KeepNewest(renders []blob.Object, current string) map[string]bool {
	byAge := slices.Clone(renders)
	slices.SortStableFunc(byAge, func(a, b blob.Object) int { return b.Modified.Compare(a.Modified) })
	keep := map[string]bool{current: true}
	for _, r := range byAge {
		if len(keep) > keepRenders {
			break
		}
		keep[r.Name] = true
	}
	return keep
}
