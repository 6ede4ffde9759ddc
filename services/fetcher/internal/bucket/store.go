package bucket

import (
	"context"
	"errors"
	"io"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// store is the bucket of an object of the kind, on its server.
type store interface {
	// list hands out the objects whose keys begin with a prefix, folders apart. That
	// there is no such bucket is errNoBucket.
	list(ctx context.Context, prefix string, found func(object)) error
	// open reads an object, if it still is the one that was listed; one without an etag
	// was not, and is read as it is. That there is none is errNoObject.
	open(ctx context.Context, o object) (io.ReadCloser, error)
}

var (
	errNoBucket = errors.New("no such bucket")
	errNoObject = errors.New("no such object")
)

// object is an object of a bucket.
type object struct {
	key, etag string
	// generation tells versions of an object apart where etags do not; 0 where they do.
	generation int64
	size       int64
	// path is where it is in the artifact.
	path string
}

// maxIgnoreFile bounds the ignore file, in bytes.
const maxIgnoreFile = 1 << 20

// readAll reads an object that is no larger than limit.
func readAll(ctx context.Context, from store, o object, limit int64) ([]byte, error) {
	body, err := from.open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = pack.ErrLimit
	}
	return text, err
}
