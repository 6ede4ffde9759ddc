package chartindex

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/repo"
)

// header is what an index has beside its entries, in Helm's order of fields.
type header struct {
	front
	back
}

type front struct {
	ServerInfo map[string]any `json:"serverInfo,omitempty"`
	APIVersion string         `json:"apiVersion"`
	Generated  time.Time      `json:"generated"`
}

type back struct {
	PublicKeys  []string          `json:"publicKeys,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Normalise reads an index in YAML or JSON and writes it as JSON, as Helm itself
// encodes what it loads: charts by name, versions from the highest down, entries that
// are not valid left out. The table is of what was written. It ends with the context, but for
// YAML in a layout that no tool writes, which is decoded as a whole. What is far larger when read
// than it looks is an error.
func Normalise(ctx context.Context, data []byte, w io.Writer) (*Index, error) {
	if len(data) == 0 {
		return nil, repo.ErrEmptyIndexYaml
	}
	header, charts, err := take(ctx, data)
	if err != nil {
		return nil, err
	}
	if header.APIVersion == "" {
		return nil, repo.ErrNoAPIVersion
	}
	before, err := json.Marshal(header.front)
	if err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	after, err := json.Marshal(header.back)
	if err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	index := &Index{charts: make(map[string][]Version, len(charts))}
	out := &writer{to: w}
	out.write(bytes.TrimSuffix(before, []byte("}")))
	out.write([]byte(`,"entries":{`))
	for n, name := range slices.Sorted(maps.Keys(charts)) {
		if n > 0 {
			out.write([]byte(","))
		}
		index.charts[name] = out.versions(name, charts[name])
	}
	out.write([]byte("}"))
	if rest := bytes.TrimPrefix(after, []byte("{")); len(rest) > 1 {
		out.write([]byte(","))
		out.write(rest)
	} else {
		out.write(rest)
	}
	if out.err != nil {
		return nil, fmt.Errorf("write index: %w", out.err)
	}
	return index, nil
}

// take reads what an index has, in the layout that it seems to have or as a whole.
func take(ctx context.Context, data []byte) (header, map[string]entries, error) {
	p, err := split(ctx, data)
	if err != nil {
		return header{}, nil, err
	}
	charts, err := decode(ctx, p)
	if err == nil || !p.guessed || errors.Is(err, errLarge) {
		return p.header, charts, err
	}
	p, whole := splitYAML(ctx, data)
	switch {
	case errors.Is(whole, errLarge):
		return header{}, nil, fmt.Errorf("%w; if it is the layout that is not the usual one: %w", err, whole)
	case whole != nil:
		return header{}, nil, whole
	}
	charts, err = decode(ctx, p)
	return p.header, charts, err
}

// entry is one version of a chart, and how it is written.
type entry struct {
	Version
	parsed *semver.Version
	json   []byte
}

// entries sort as Helm sorts versions: what does not parse goes to the end.
type entries []entry

func (e entries) Len() int      { return len(e) }
func (e entries) Swap(a, b int) { e[a], e[b] = e[b], e[a] }
func (e entries) Less(a, b int) bool {
	switch {
	case e[a].parsed == nil:
		return true
	case e[b].parsed == nil:
		return false
	}
	return e[a].parsed.LessThan(e[b].parsed)
}

func decode(ctx context.Context, p parts) (map[string]entries, error) {
	charts := make(map[string]entries, len(p.entries))
	for name, items := range p.entries {
		list, err := readVersions(ctx, name, items, p.decode)
		if err != nil {
			return nil, err
		}
		charts[name] = list
	}
	return charts, nil
}

// readVersions decodes the versions of a chart one by one.
func readVersions(ctx context.Context, name string, items [][]byte, decode func([]byte, any) error) (entries, error) {
	var list entries
	for _, item := range items {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var versions []*repo.ChartVersion
		if err := decode(item, &versions); err != nil {
			return nil, fmt.Errorf("chart %q: %w", name, err)
		}
		for _, v := range versions {
			if err := valid(v); err != nil {
				slog.Warn("an entry of a Helm index is left out", "chart", name, "error", err)
				continue
			}
			text, err := json.Marshal(v)
			if err != nil {
				return nil, fmt.Errorf("encode chart %q: %w", name, err)
			}
			e := entry{Version: versionOf(v), json: text}
			if parsed, err := semver.NewVersion(v.Version); err == nil {
				e.parsed = parsed
			}
			list = append(list, e)
		}
	}
	sort.Sort(sort.Reverse(list))
	return list, nil
}

func versionOf(v *repo.ChartVersion) Version {
	return Version{Version: v.Version, URLs: v.URLs, Digest: v.Digest, Created: v.Created}
}

// valid completes an entry as Helm does and says why it is not usable. The rules of
// charts that do not matter in an index are left to whoever loads the chart.
func valid(v *repo.ChartVersion) error {
	if v == nil {
		return errors.New("it is empty")
	}
	if v.Metadata == nil {
		v.Metadata = &chart.Metadata{}
	}
	if v.APIVersion == "" {
		v.APIVersion = chart.APIVersionV1
	}
	err := v.Validate()
	// Some repositories drop the aliases of dependencies (helm/helm issue 12748).
	if invalid := chart.ValidationError(""); errors.As(err, &invalid) && strings.HasPrefix(invalid.Error(), "validation: more than one dependency with name or alias") {
		return nil
	}
	return err
}

// writer writes until the first error.
type writer struct {
	to  io.Writer
	err error
}

func (w *writer) write(p []byte) {
	if w.err == nil {
		_, w.err = w.to.Write(p)
	}
}

func (w *writer) versions(name string, list entries) []Version {
	quoted, err := json.Marshal(name)
	if err != nil {
		w.err = errors.Join(w.err, err)
		return nil
	}
	w.write(quoted)
	w.write([]byte(":["))
	table := make([]Version, len(list))
	for n, e := range list {
		if n > 0 {
			w.write([]byte(","))
		}
		w.write(e.json)
		table[n] = e.Version
	}
	w.write([]byte("]"))
	return table
}
