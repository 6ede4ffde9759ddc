package chartindex

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

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
		if err := admitJSON(data, maxAllValues); err != nil {
			return parts{}, err
		}
		return splitWhole(data, lenient)
	}
	if p, known, err := splitLines(ctx, data); known {
		return p, err
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
	if len(whole.Entries) > maxCharts {
		return parts{}, errMany
	}
	p := parts{header: whole.header, entries: make(map[string][][]byte, len(whole.Entries)), decode: decode}
	for name, text := range whole.Entries {
		if err := admitJSON(text, maxValues); err != nil {
			return parts{}, fmt.Errorf("chart %q: %w", name, err)
		}
		p.entries[name] = [][]byte{text}
	}
	return p, nil
}
