package chartfile

import (
	"errors"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// maxDepth is how deep values may be within each other: each of them is indented as far, in what is written of them.
const maxDepth = 100

// ParseValues reads a values file for the chart. All that are read for one weigh together with it.
func (c *Chart) ParseValues(text []byte) (map[string]any, error) { return c.left.values(text) }

func (r *room) values(text []byte) (map[string]any, error) {
	if err := r.take(text); err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, errors.New("it is no YAML of values: " + firstLine(err.Error()))
	}
	return values, nil
}

// firstLine keeps an error from quoting what it could not read.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// MergeTexts returns a values file with what is in another over it.
func MergeTexts(below, above []byte) ([]byte, error) {
	var read [2]map[string]any
	left := newRoom()
	for n, text := range [][]byte{below, above} {
		var err error
		if read[n], err = left.values(text); err != nil {
			return nil, err
		}
	}
	return write(Merge(read[0], read[1]))
}

// Merge returns values with others over them: maps are merged, all else is replaced.
// Neither is changed.
func Merge(values, over map[string]any) map[string]any {
	out := make(map[string]any, len(values)+len(over))
	for k, v := range values {
		out[k] = v
	}
	for k, v := range over {
		below, ok := out[k].(map[string]any)
		if above, also := v.(map[string]any); ok && also {
			v = Merge(below, above)
		}
		out[k] = v
	}
	return out
}

// write writes values.
func write(values map[string]any) ([]byte, error) {
	if err := flat(values); err != nil {
		return nil, err
	}
	return yaml.Marshal(values)
}

// flat refuses values that become far larger when they are written.
func flat(values any) error {
	if deeper(values, maxDepth) {
		return fmt.Errorf("there are values more than %d levels deep: write flatter ones: %w", maxDepth, pack.ErrLimit)
	}
	return nil
}

// deeper says that a value has more levels than so many.
func deeper(value any, levels int) bool {
	switch v := value.(type) {
	case map[string]any:
		for _, item := range v {
			if levels == 0 || deeper(item, levels-1) {
				return true
			}
		}
	case []any:
		for _, item := range v {
			if levels == 0 || deeper(item, levels-1) {
				return true
			}
		}
	}
	return false
}
