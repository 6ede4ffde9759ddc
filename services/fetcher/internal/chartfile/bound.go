package chartfile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chartutil"

	"github.com/sluice-gitops/sluice/internal/yamlbound"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// The bounds of a chart, with the packages in its charts folder. Helm bounds the files of each package by themselves, and not
// how many there are, nor what aliases make of YAML.
const (
	// maxExpanded is the bytes that a chart may expand to.
	maxExpanded = 128 << 20
	// maxText is the bytes of a file of YAML that is read, maxSigns the signs in it of which two values must have one, and
	// maxAliased what it may weigh with aliases. maxYAML is what all of them may weigh together, values files included.
	maxText    = 4 << 20
	maxSigns   = 1 << 18
	maxAliased = 16 << 20
	maxYAML    = 128 << 20
)

// room is what there is for a chart.
type room struct {
	// bytes of all files, and the weight of those that are read as YAML.
	bytes int64
	yaml  int
}

func newRoom() room { return room{bytes: maxExpanded, yaml: maxYAML} }

// expand makes room for what a package expands to.
func (r *room) expand(archive []byte) error {
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	entries := tar.NewReader(&counted{from: zip, left: &r.bytes})
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := inside(header.Name)
		if !packaged(name) && !read(name) {
			continue
		}
		content, err := io.ReadAll(entries)
		if err != nil {
			return err
		}
		if err := r.look(name, content); err != nil {
			return err
		}
	}
}

// add makes room for a file of a chart, with what it expands to if it is a package.
func (r *room) add(name string, data []byte) error {
	if r.bytes -= int64(len(data)); r.bytes < 0 {
		return tooLarge()
	}
	return r.look(name, data)
}

// look makes room for what Helm reads of a file. What else is wrong with it is Helm's to say.
func (r *room) look(name string, data []byte) error {
	switch {
	case packaged(name):
		if err := r.expand(data); errors.Is(err, pack.ErrLimit) {
			return err
		}
	case read(name):
		if err := r.take(data); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// take makes room for YAML, before it is read. What is no YAML takes none.
func (r *room) take(text []byte) error {
	bound := yamlbound.Bound{Bytes: maxText, Signs: maxSigns, Expanded: min(r.yaml, maxAliased)}
	weight, err := bound.Check(text)
	if errors.Is(err, yamlbound.ErrLarge) {
		return fmt.Errorf("%w: write it without aliases, or leave values out: %w", err, pack.ErrLimit)
	}
	if r.yaml -= weight; r.yaml < 0 {
		return fmt.Errorf("all YAML that is read of the chart has too many values: leave dependencies or values out: %w", pack.ErrLimit)
	}
	return nil
}

// inside is the name in a chart of what its package calls otherwise, as Helm has it.
func inside(name string) string {
	delimiter := "/"
	if strings.Contains(name, `\`) {
		delimiter = `\`
	}
	_, name, _ = strings.Cut(name, delimiter)
	return path.Clean(strings.ReplaceAll(name, delimiter, "/"))
}

// packaged says that a file of a chart is the package of a dependency.
func packaged(name string) bool {
	return strings.HasPrefix(name, "charts/") && strings.HasSuffix(name, ".tgz")
}

// read says that a file of a chart, or of a dependency in a folder, is read as YAML.
func read(name string) bool {
	for strings.HasPrefix(name, "charts/") {
		_, name, _ = strings.Cut(strings.TrimPrefix(name, "charts/"), "/")
	}
	return slices.Contains([]string{chartutil.ChartfileName, chartutil.ValuesfileName, "Chart.lock", "requirements.yaml", "requirements.lock"}, name)
}

func tooLarge() error {
	return fmt.Errorf("it expands to more than %d bytes: %w", maxExpanded, pack.ErrLimit)
}

// counted takes what is read away from left.
type counted struct {
	from io.Reader
	left *int64
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if *c.left -= int64(n); *c.left < 0 {
		return 0, tooLarge()
	}
	return n, err
}
