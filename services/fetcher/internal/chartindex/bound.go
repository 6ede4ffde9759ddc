package chartindex

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sluice-gitops/sluice/internal/yamlbound"
)

// The bounds of what is read at a time, which whoever runs a repository decides about: a version in the layout that tools
// write, any other YAML as a whole, a chart in JSON.
const (
	// maxText is the bytes of a text in YAML, and maxSigns the signs in it of which two values must have one.
	maxText  = 4 << 20
	maxSigns = 1 << 18
	// maxName is the bytes of a chart's name, with its quotes.
	maxName = 1 << 10
	// maxExpanded is what it may weigh when its aliases are written out, and how many more bytes than it has itself an index
	// may have as JSON.
	maxExpanded = 64 << 20
	// maxValues is the signs in a chart in JSON of which each value has one, and maxAllValues those in an index: each
	// value takes dozens of bytes, an object hundreds, though it may be empty and has two.
	maxValues    = 1 << 20
	maxAllValues = 1 << 21
	// maxCharts and maxVersions are those of an index. A version has a few hundred bytes until it is written.
	maxCharts   = 1 << 16
	maxVersions = 1 << 18
	// maxReason is the bytes that are told of why an entry is not valid.
	maxReason = 200
)

// errLarge is what there is to do about YAML that is too large.
var errLarge = errors.New("let the repository write its index as `helm repo index` does, or as JSON")

// errMany is what there is to do about an index of too many versions, in any layout.
var errMany = fmt.Errorf("it has more than %d charts or %d versions: let the repository leave versions out of its index", maxCharts, maxVersions)

// admit refuses YAML that takes too much to read, before it is.
func admit(text []byte) error {
	_, err := yamlbound.Bound{Bytes: maxText, Signs: maxSigns, Expanded: maxExpanded}.Check(text)
	if errors.Is(err, yamlbound.ErrLarge) {
		return fmt.Errorf("%w: %w", err, errLarge)
	}
	return err
}

// admitJSON refuses JSON of so many values that they take far more than their text.
func admitJSON(text []byte, most int) error {
	values := 0
	for _, sign := range "{[," {
		values += bytes.Count(text, []byte(string(sign)))
	}
	if values > most {
		return fmt.Errorf("it has up to %d values, more than the %d that can be read at once: let the repository leave versions out of its index", values, most)
	}
	return nil
}
