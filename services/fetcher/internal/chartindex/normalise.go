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
	got, err := take(ctx, data)
	if err != nil {
		return nil, err
	}
	if got.invalid > 0 {
		slog.Warn("entries of a Helm index are left out", "entries", got.invalid, "one", got.reason)
	}
	header, charts := got.header, got.charts
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

// taken is what an index has.
type taken struct {
	header header
	charts map[string]entries
	// read is how many versions there are, and invalid how many of them are left out; reason
	// says what is wrong with the first of those.
	read, invalid int
	reason        string
	// room is how many bytes of JSON there may still be.
	room int
}

// take reads what an index has, in the layout that it seems to have or as a whole.
func take(ctx context.Context, data []byte) (*taken, error) {
	room := len(data) + maxExpanded
	p, err := split(ctx, data)
	var got *taken
	if err == nil {
		got, err = decode(ctx, p, room)
	}
	if err == nil || !p.guessed || ctx.Err() != nil || errors.Is(err, errLarge) || errors.Is(err, errMany) {
		return got, err
	}
	p, whole := splitYAML(ctx, data)
	switch {
	case errors.Is(whole, errLarge):
		return nil, fmt.Errorf("%w; if it is the layout that is not the usual one: %w", err, whole)
	case whole != nil:
		return nil, whole
	}
	return decode(ctx, p, room)
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

func decode(ctx context.Context, p parts, room int) (*taken, error) {
	got := &taken{header: p.header, charts: make(map[string]entries, len(p.entries)), room: room}
	for name, items := range p.entries {
		if err := got.versions(ctx, name, items, p.decode); err != nil {
			return nil, err
		}
	}
	return got, nil
}

// versions decodes the versions of a chart one by one.
func (t *taken) versions(ctx context.Context, name string, items [][]byte, decode func([]byte, any) error) error {
	var list entries // stays nil where there is none, as Helm has it
	for _, item := range items {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var versions []*repo.ChartVersion
		if err := decode(item, &versions); err != nil {
			return fmt.Errorf("chart %q: %w", name, err)
		}
		if t.read += len(versions); t.read > maxVersions {
			return errMany
		}
		if list == nil && versions != nil {
			list = entries{}
		}
		for _, v := range versions {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := valid(v); err != nil {
				t.leaveOut(name, err)
				continue
			}
			text, err := json.Marshal(v)
			if err != nil {
				return fmt.Errorf("encode chart %q: %w", name, err)
			}
			if t.room -= len(text); t.room < 0 {
				return fmt.Errorf("chart %q: its versions, and those of charts before it, are far larger as JSON: %w", name, errLarge)
			}
			e := entry{Version: Version{v.Version, first(v.URLs), v.Digest, v.Created}, json: text}
			if parsed, err := semver.NewVersion(v.Version); err == nil {
				e.parsed = parsed
			}
			list = append(list, e)
		}
	}
	sort.Sort(sort.Reverse(list))
	t.charts[name] = list
	return nil
}

func (t *taken) leaveOut(name string, err error) {
	if t.invalid++; t.invalid == 1 {
		t.reason = fmt.Sprintf("chart %.*q: %.*s", maxReason, name, maxReason, err)
	}
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
	if list == nil {
		w.write([]byte(":null"))
		return nil
	}
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
