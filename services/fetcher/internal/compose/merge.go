package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartfile"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// maxMerged bounds a file that is merged: it is in memory.
const maxMerged = 10 << 20

// merge copies files, and merges those that are there already.
func (t *Tree) merge(chosen []choice) error {
	for i, c := range chosen {
		if !slices.Contains([]string{".yaml", ".yml"}, path.Ext(c.to)) {
			return fmt.Errorf("%q is not merged: only .yaml and .yml files are", c.file.Path)
		}
		there, ok := t.find(c.to)
		if !ok || there.Dir {
			continue
		}
		text, err := merged(there, c.file)
		if err != nil {
			return err
		}
		chosen[i].file = pack.File{Executable: there.Executable, Open: func() (int64, io.ReadCloser, error) {
			return int64(len(text)), io.NopCloser(bytes.NewReader(text)), nil
		}}
	}
	return t.graft(chosen)
}

func merged(there, over pack.File) ([]byte, error) {
	var values [2]map[string]any
	for i, f := range []pack.File{there, over} {
		text, err := content(f)
		if err == nil {
			values[i], err = chartfile.ParseValues(text)
		}
		if err != nil {
			return nil, fmt.Errorf("merge %q: %w", f.Path, err)
		}
	}
	return yaml.Marshal(chartfile.Merge(values[0], values[1]))
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
