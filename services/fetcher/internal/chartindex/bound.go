package chartindex

import (
	"bytes"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v2"
)

// The bounds of what is read at a time, which whoever runs a repository decides about: a version in the layout that tools
// write, any other YAML as a whole, a chart in JSON.
const (
	// maxText is the bytes of a text in YAML, and maxSigns the signs in it of which two values must have one.
	maxText  = 4 << 20
	maxSigns = 1 << 18
	// maxName is the bytes of a chart's name, with its quotes.
	maxName = 1 << 10
	// maxExpanded is what it may weigh when its aliases are expanded, with weight for each value.
	maxExpanded = 64 << 20
	weight      = 64
	// maxObjects are those of a chart in JSON, and maxAllObjects those of an index: each takes hundreds of bytes, though it
	// may be empty.
	maxObjects    = 1 << 19
	maxAllObjects = 1 << 21
)

// errLarge is what there is to do about YAML that is too large.
var errLarge = errors.New("let the repository write its index as `helm repo index` does, or as JSON")

// admit refuses YAML that takes too much to read, before it is.
func admit(text []byte) error {
	signs := 0
	for _, sign := range ",:-?[{" {
		signs += bytes.Count(text, []byte(string(sign)))
	}
	if len(text) > maxText || signs > maxSigns {
		return fmt.Errorf("%d bytes of YAML with up to %d values would have to be read at once, which is more than %d bytes or %d values: %w",
			len(text), signs, maxText, maxSigns, errLarge)
	}
	if bytes.IndexByte(text, '&') < 0 || bytes.IndexByte(text, '*') < 0 {
		return nil
	}
	// As decoded, what aliases repeat is shared, and the decoder itself bounds how many values they make.
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return err
	}
	left := maxExpanded
	if weigh(tree, &left); left < 0 {
		return fmt.Errorf("aliases (*name) make %d bytes of YAML far larger: %w", len(text), errLarge)
	}
	return nil
}

// weigh takes what a tree weighs when nothing in it is shared from what is left, as long as something is.
func weigh(tree any, left *int) {
	if *left -= weight; *left < 0 {
		return
	}
	switch v := tree.(type) {
	case string:
		*left -= len(v)
	case []any:
		for _, item := range v {
			weigh(item, left)
		}
	case map[any]any:
		for key, item := range v {
			weigh(key, left)
			weigh(item, left)
		}
	}
}

// admitJSON refuses JSON of so many objects that they take far more than their text.
func admitJSON(text []byte, most int) error {
	if objects := bytes.Count(text, []byte("{")); objects > most {
		return fmt.Errorf("it has up to %d values, more than the %d that can be read at once: let the repository leave versions out of its index", objects, most)
	}
	return nil
}
