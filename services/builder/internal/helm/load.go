package helm

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"

	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
)

// ErrChart says that an artifact holds no chart that can be loaded.
var ErrChart = errors.New("Could not load chart")

var byteOrderMark = []byte{0xEF, 0xBB, 0xBF}

// Load loads the chart that an artifact holds in its one folder, as Helm loads an archive.
func Load(tree *artifact.Tree) (*chart.Chart, error) {
	if _, ok := tree.File(chartutil.ChartfileName); ok {
		return nil, fmt.Errorf("%w: Chart.yaml is not in a folder of the archive", ErrChart)
	}
	var files []*loader.BufferedFile
	if err := collect(tree, ".", &files); err != nil {
		return nil, err
	}
	loaded, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChart, err)
	}
	if err := loaded.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChart, err)
	}
	return loaded, nil
}

// collect adds the files of a folder and those below it, without the first part of their path.
func collect(tree *artifact.Tree, folder string, files *[]*loader.BufferedFile) error {
	names, _ := tree.Folder(folder)
	for _, name := range names {
		full := path.Join(folder, name)
		if _, ok := tree.File(full); !ok {
			if err := collect(tree, full, files); err != nil {
				return err
			}
			continue
		}
		_, inside, ok := strings.Cut(full, "/")
		if !ok {
			continue // beside the chart's folder
		}
		body, err := tree.Read(full)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrChart, err)
		}
		*files = append(*files, &loader.BufferedFile{Name: inside, Data: bytes.TrimPrefix(body, byteOrderMark)})
	}
	return nil
}

// clone returns a copy of a chart that a render may change: its metadata, values and the
// list of its dependencies. Files are shared.
func clone(c *chart.Chart) *chart.Chart {
	out := *c
	if c.Metadata != nil {
		metadata := *c.Metadata
		metadata.Dependencies = make([]*chart.Dependency, len(c.Metadata.Dependencies))
		for i, d := range c.Metadata.Dependencies {
			dependency := *d
			metadata.Dependencies[i] = &dependency
		}
		out.Metadata = &metadata
	}
	out.Values = cloneMap(c.Values)
	dependencies := make([]*chart.Chart, len(c.Dependencies()))
	for i, d := range c.Dependencies() {
		dependencies[i] = clone(d)
	}
	out.SetDependencies(dependencies...)
	return &out
}

func cloneMap(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = cloneValue(v)
	}
	return out
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return cloneMap(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = cloneValue(v[i])
		}
		return out
	}
	return v
}
