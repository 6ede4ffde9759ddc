package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Trees unpacks archives for one pass: each once, however often it is asked for, and all of them
// within the limits of one. It is for one goroutine.
type Trees struct {
	dir          string
	limits, left Limits
	unpacked     map[string]*Unpacked
}

// NewTrees returns trees with scratch files in dir.
func NewTrees(dir string, limits Limits) *Trees {
	return &Trees{dir: dir, limits: limits, left: limits, unpacked: map[string]*Unpacked{}}
}

// Unpack returns what the archive with an id holds, which open reads. It is there until Close.
func (t *Trees) Unpack(ctx context.Context, id string, open func() (io.ReadCloser, error)) (*Unpacked, error) {
	if was := t.unpacked[id]; was != nil {
		return was, nil
	}
	archive, err := open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = archive.Close() }() // it was only read
	u, err := Unpack(ctx, archive, t.dir, t.left)
	if errors.Is(err, ErrLimit) {
		return nil, fmt.Errorf("all that is put together has %d bytes and %d entries at most: %w", t.limits.Bytes, t.limits.Entries, err)
	}
	if err != nil {
		return nil, err
	}
	t.left.Bytes -= u.size
	t.left.Entries -= u.seen
	t.unpacked[id] = u
	return u, nil
}

// Close forgets what was unpacked.
func (t *Trees) Close() error {
	var errs []error
	for _, u := range t.unpacked {
		errs = append(errs, u.Close())
	}
	return errors.Join(errs...)
}
