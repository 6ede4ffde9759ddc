// Package chartfile reads charts, changes what a HelmChart may ask to change, and
// packs them again. Files that are not changed stay as they are, to the byte, and the
// same chart always gives the same package.
package chartfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// Chart is a chart and its files. It is for one goroutine.
type Chart struct {
	files  []*loader.BufferedFile
	loaded *chart.Chart
	// left is what there still is for files that are added to it.
	left room
}

// Open reads a package.
func Open(archive []byte) (*Chart, error) {
	left := newRoom()
	if err := left.expand(archive); errors.Is(err, pack.ErrLimit) {
		return nil, fmt.Errorf("read package: %w", err)
	}
	files, err := loader.LoadArchiveFiles(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("read package: %w", err)
	}
	return load(files, left)
}

// load reads a chart from its files, whose names are relative to its folder.
func load(files []*loader.BufferedFile, left room) (*Chart, error) {
	loaded, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("load chart: %w", err)
	}
	if err := loaded.Validate(); err != nil {
		return nil, fmt.Errorf("load chart: %w", err)
	}
	return &Chart{files: slices.Clone(files), loaded: loaded, left: left}, nil
}

// Name returns the chart's name.
func (c *Chart) Name() string { return c.loaded.Name() }

// Version returns the chart's version.
func (c *Chart) Version() string { return c.loaded.Metadata.Version }

// Values returns the chart's own values. They must not be changed.
func (c *Chart) Values() map[string]any { return c.loaded.Values }

// File returns a file's content; nil when there is none of that name, or when it is one
// of those that make the chart, such as a template.
func (c *Chart) File(name string) []byte {
	for _, f := range c.loaded.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

// WithMetadata returns a version with build metadata in the place of its own.
func WithMetadata(version, metadata string) (string, error) {
	if metadata == "" {
		return version, nil
	}
	parsed, err := semver.NewVersion(version)
	if err != nil {
		return "", fmt.Errorf("version %q: %w", version, err)
	}
	with, err := parsed.SetMetadata(metadata)
	if err != nil {
		return "", fmt.Errorf("version %q with metadata %q: %w", version, metadata, err)
	}
	return with.String(), nil
}

// SetVersion changes the version.
func (c *Chart) SetVersion(version string) error {
	if version == c.Version() {
		return nil
	}
	for _, d := range c.loaded.Metadata.Dependencies {
		if err := flat(d.ImportValues); err != nil {
			return fmt.Errorf("import-values of dependency '%s': %w", d.Name, err)
		}
	}
	c.loaded.Metadata.Version = version
	text, err := yaml.Marshal(c.loaded.Metadata)
	if err != nil {
		return fmt.Errorf("write %s: %w", chartutil.ChartfileName, err)
	}
	c.replace(chartutil.ChartfileName, text)
	return nil
}

// SetValues changes the chart's own values. Values that are equal stay as they are
// written.
func (c *Chart) SetValues(values map[string]any) error {
	text, err := write(values)
	if err != nil {
		return fmt.Errorf("write %s: %w", chartutil.ValuesfileName, err)
	}
	c.replace(chartutil.ValuesfileName, text)
	return nil
}

func (c *Chart) replace(name string, text []byte) {
	file := &loader.BufferedFile{Name: name, Data: text}
	for n, f := range c.files {
		if f.Name == name {
			c.files[n] = file
			return
		}
	}
	c.files = append(c.files, file)
}

// Missing returns the dependencies that the chart names, in its lock file if it has
// one, and does not bring along.
func (c *Chart) Missing() []*chart.Dependency {
	wanted := c.loaded.Metadata.Dependencies
	if c.loaded.Lock != nil {
		wanted = c.loaded.Lock.Dependencies
	}
	var missing []*chart.Dependency
	for _, d := range wanted {
		if !slices.ContainsFunc(c.loaded.Dependencies(), func(have *chart.Chart) bool { return have.Name() == d.Name }) {
			missing = append(missing, d)
		}
	}
	return missing
}

// Vendor adds a dependency's files. A chart expands to no more with its dependencies than
// one may that brings them along.
func (c *Chart) Vendor(dependency *Chart) error {
	if c.left.bytes -= maxExpanded - dependency.left.bytes; c.left.bytes < 0 {
		return fmt.Errorf("with it the chart '%s' expands to more than %d bytes: leave out dependencies or files of theirs: %w",
			c.Name(), maxExpanded, pack.ErrLimit)
	}
	for _, f := range dependency.files {
		c.files = append(c.files, &loader.BufferedFile{Name: "charts/" + dependency.Name() + "/" + f.Name, Data: f.Data})
	}
	return nil
}

// Files returns what the package of the chart holds: Chart.yaml first, as Helm has it,
// all under a folder of the chart's name.
func (c *Chart) Files() []pack.File {
	sorted := slices.Clone(c.files)
	slices.SortStableFunc(sorted, func(a, b *loader.BufferedFile) int {
		switch first := chartutil.ChartfileName; {
		case a.Name == b.Name:
			return 0
		case a.Name == first:
			return -1
		case b.Name == first:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	files := make([]pack.File, len(sorted))
	for n, f := range sorted {
		files[n] = pack.File{Path: c.Name() + "/" + f.Name, Open: func() (int64, io.ReadCloser, error) {
			return int64(len(f.Data)), io.NopCloser(bytes.NewReader(f.Data)), nil
		}}
	}
	return files
}
