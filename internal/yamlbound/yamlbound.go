// Package yamlbound says of YAML, before it is read, that reading it takes too much memory. What aliases (*name) repeat is
// written out by those who read YAML as JSON, as Kubernetes and Helm do: a few kilobytes become gigabytes.
package yamlbound

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"go.yaml.in/yaml/v2"

	"github.com/sluice-gitops/sluice/internal/render"
)

// ErrLarge says that YAML takes too much to be read.
var ErrLarge = errors.New("too large to be read")

// Bound is that of one text. All of it is required.
type Bound struct {
	// Bytes of the text, and Signs in it that begin or part values: two values must have one.
	Bytes, Signs int
	// Expanded is what a text with aliases may weigh when they are written out, in bytes of JSON, with render.ValueWeight
	// for each value.
	Expanded int
}

// Check returns what a text weighs at most when it is read, or an ErrLarge. What has aliases and is no YAML is another error.
func (b Bound) Check(text []byte) (weight int, err error) {
	signs := 0
	for _, sign := range ",:-?[{" {
		signs += bytes.Count(text, []byte(string(sign)))
	}
	if len(text) > b.Bytes || signs > b.Signs {
		return 0, fmt.Errorf("YAML of %d bytes with up to %d values is %w at once: %d bytes and %d values are the most",
			len(text), signs, ErrLarge, b.Bytes, b.Signs)
	}
	if bytes.IndexByte(text, '&') < 0 || bytes.IndexByte(text, '*') < 0 {
		return len(text) + signs*render.ValueWeight, nil
	}
	// As decoded, what aliases repeat is shared, and the decoder itself bounds how many values they make.
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return 0, err
	}
	left := b.Expanded
	if weigh(tree, &left); left < 0 {
		return 0, fmt.Errorf("YAML of %d bytes is %w when its aliases (*name) are written out", len(text), ErrLarge)
	}
	return b.Expanded - left, nil
}

// weigh takes what a tree weighs when nothing in it is shared from what is left, as long as something is.
func weigh(tree any, left *int) {
	if *left -= render.ValueWeight; *left < 0 {
		return
	}
	switch v := tree.(type) {
	case string:
		*left -= written(v)
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

// written is about how many bytes a text takes in JSON, where one may be written as six.
func written(text string) int {
	const six = 6
	if !utf8.ValidString(text) {
		return six * len(text)
	}
	n := len(text)
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c == '<', c == '>', c == '&', c == '"', c == '\\':
			n += six - 1
		}
	}
	return n
}
