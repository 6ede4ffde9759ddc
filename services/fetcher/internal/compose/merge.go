package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartfile"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// maxMerged bounds a file that is merged, and maxKept all that merging makes, in bytes: they are in memory.
const (
	maxMerged = 10 << 20
	maxKept   = 128 << 20
)

// merge copies files, and merges those that are there already.
func (t *Tree) merge(ctx context.Context, chosen []choice) error {
	for i, c := range chosen {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !slices.Contains([]string{".yaml", ".yml"}, path.Ext(c.to)) {
			return fmt.Errorf("%q is not merged: only .yaml and .yml files are", c.file.Path)
		}
		there, ok := t.find(c.to)
		if !ok || there.Dir {
			continue
		}
		text, err := merged(there, c.file)
		if err != nil {
			return fmt.Errorf("merge %q: %w", c.file.Path, err)
		}
		if t.kept += len(text); t.kept > maxKept {
			return fmt.Errorf("merged files have more than %d bytes together: merge fewer, or smaller ones: %w", maxKept, pack.ErrLimit)
		}
		chosen[i].file = pack.File{Executable: there.Executable, Open: func() (int64, io.ReadCloser, error) {
			return int64(len(text)), io.NopCloser(bytes.NewReader(text)), nil
		}}
	}
	return t.graft(chosen)
}

func merged(there, over pack.File) ([]byte, error) {
	below, err := content(there)
	if err != nil {
		return nil, err
	}
	above, err := content(over)
	if err != nil {
		return nil, err
	}
	return chartfile.MergeTexts(below, above)
}

func content(f pack.File) (_ []byte, err error) {
	size, body, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if size > maxMerged {
		return nil, fmt.Errorf("more than %d bytes: %w", maxMerged, pack.ErrLimit)
	}
	return io.ReadAll(io.LimitReader(body, maxMerged))
}
