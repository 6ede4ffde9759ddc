package chartindex

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// parts are the pieces of an index that are decoded one by one.
type parts struct {
	header header
	// entries holds, by chart, texts of lists of versions.
	entries map[string][][]byte
	decode  func([]byte, any) error
	// guessed is true when the pieces are those of the usual layout, which a scalar
	// may look like too: then a piece does not decode, or the index has to be wrong.
	guessed bool
}

// split takes an index apart. JSON comes apart by chart, and the layout that every tool writes in
// YAML by version; any other YAML is decoded whole, so it has to be small.
func split(ctx context.Context, data []byte) (parts, error) {
	if json.Valid(data) {
		if err := admitJSON(data, maxAllObjects); err != nil {
			return parts{}, err
		}
		return splitWhole(data, lenient)
	}
	if p, ok := splitLines(ctx, data); ok {
		return p, nil
	}
	return splitYAML(ctx, data)
}

func splitYAML(ctx context.Context, data []byte) (parts, error) {
	if ctx.Err() != nil {
		return parts{}, context.Cause(ctx)
	}
	if err := admit(data); err != nil {
		return parts{}, err
	}
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return parts{}, err
	}
	return splitWhole(text, strictJSON)
}

// lenient decodes JSON, strictJSON and strict refuse unknown fields: Helm is strict
// with an index in YAML, and only with it.
func lenient(data []byte, to any) error { return json.Unmarshal(data, to) }

func strict(data []byte, to any) error {
	if err := admit(data); err != nil {
		return err
	}
	return yaml.UnmarshalStrict(data, to)
}

func strictJSON(data []byte, to any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(to)
}

func splitWhole(data []byte, decode func([]byte, any) error) (parts, error) {
	var whole struct {
		header
		Entries map[string]json.RawMessage `json:"entries"`
	}
	if err := decode(data, &whole); err != nil {
		return parts{}, err
	}
	p := parts{header: whole.header, entries: make(map[string][][]byte, len(whole.Entries)), decode: decode}
	for name, text := range whole.Entries {
		if err := admitJSON(text, maxObjects); err != nil {
			return parts{}, fmt.Errorf("chart %q: %w", name, err)
		}
		p.entries[name] = [][]byte{text}
	}
	return p, nil
}

// lines takes the usual layout apart: entries is a block, in it the charts, and under
// each a list of versions.
type lines struct {
	entries map[string][][]byte
	header  bytes.Buffer
	// inside is true between the line "entries:" and the next field of the index.
	inside bool
	// chart is the newest name, at an indentation; dash is that of its items.
	chart             string
	indentation, dash int
	start, end        int
}

// splitLines says false of a layout that it does not know, and when the context has ended.
func splitLines(ctx context.Context, data []byte) (parts, bool) {
	l := &lines{entries: map[string][][]byte{}, indentation: -1}
	for at := 0; at < len(data); {
		next := len(data)
		if n := bytes.IndexByte(data[at:], '\n'); n >= 0 {
			next = at + n + 1
		}
		if ctx.Err() != nil || !l.line(data, at, next) {
			return parts{}, false
		}
		at = next
	}
	l.flush(data)
	p := parts{entries: l.entries, decode: strict, guessed: true}
	return p, strict(l.header.Bytes(), &p.header) == nil
}

func (l *lines) line(data []byte, at, next int) bool {
	line := bytes.TrimRight(data[at:next], " \r\n")
	text := bytes.TrimLeft(line, " ")
	indentation := len(line) - len(text)
	switch {
	case len(text) == 0, text[0] == '#':
		l.keep(next)
		return true
	case indentation == 0:
		l.flush(data)
		l.inside = string(text) == "entries:"
		if !l.inside && string(text) != "---" {
			l.header.Write(data[at:next])
		}
		return true
	case !l.inside:
		l.header.Write(data[at:next])
		return true
	}
	if l.indentation < 0 {
		l.indentation = indentation
	}
	switch item := text[0] == '-' && (len(text) == 1 || text[1] == ' '); {
	case indentation < l.indentation:
		return false
	case indentation == l.indentation && !item:
		l.flush(data)
		return l.name(string(text))
	case l.chart == "":
		return false
	case item && l.dash < 0:
		l.dash = indentation
	}
	if text[0] == '-' && indentation == l.dash {
		l.flush(data)
		l.start = at
	}
	l.keep(next)
	return l.start >= 0
}

// name begins a chart.
func (l *lines) name(text string) bool {
	quoted, ok := strings.CutSuffix(text, ":")
	if !ok || len(quoted) > maxName {
		return false
	}
	var name string
	if err := yaml.Unmarshal([]byte(quoted), &name); err != nil || name == "" {
		return false
	}
	if _, twice := l.entries[name]; twice {
		return false
	}
	l.chart, l.dash, l.start = name, -1, -1
	l.entries[name] = nil
	return true
}

func (l *lines) keep(next int) {
	if l.start >= 0 {
		l.end = next
	}
}

// flush ends a version.
func (l *lines) flush(data []byte) {
	if l.chart != "" && l.start >= 0 && l.end > l.start {
		l.entries[l.chart] = append(l.entries[l.chart], data[l.start:l.end])
	}
	l.start, l.end = -1, -1
}
