package handle

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/seal"
)

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
