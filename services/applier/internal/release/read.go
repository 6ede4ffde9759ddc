package release

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/releaseutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/yamlbound"
)

// The bounds of a manifest, which whoever may write Secrets decides about: what its objects weigh in all (render.Weight), its
// bytes, and its documents; of one document the bytes, of which the API server takes fewer for an object, and the signs that
// begin or part values.
const (
	maxWeight    = 128 << 20
	maxText      = 32 << 20
	maxDocuments = 1 << 16
	maxDocument  = 4 << 20
	maxSigns     = 1 << 18
)

// manifestReader reads a manifest's documents as long as it has room for them.
type manifestReader struct{ room int }

// parse reads the objects of a manifest as they are written. The end of a document's last line, which splitting takes away,
// may be the end of a value.
func parse(manifest string) ([]*unstructured.Unstructured, error) {
	if documents := strings.Count(manifest, "\n---"); len(manifest) > maxText || documents > maxDocuments {
		return nil, tooLarge("it has %d bytes in %d documents", len(manifest), documents)
	}
	parts := releaseutil.SplitManifests(manifest)
	names := slices.Collect(maps.Keys(parts))
	sort.Sort(releaseutil.BySplitManifestsOrder(names))
	r := manifestReader{room: maxWeight}
	var out []*unstructured.Unstructured
	for _, name := range names {
		objects, err := r.document(parts[name] + "\n")
		if err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		out = append(out, objects...)
	}
	return out, nil
}

func (r *manifestReader) document(text string) ([]*unstructured.Unstructured, error) {
	if err := r.admit(text); err != nil {
		return nil, err
	}
	body, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return nil, err
	}
	if string(body) == "null" {
		return nil, nil
	}
	if err := r.take(render.Weight(body)); err != nil {
		return nil, err
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(body); err != nil {
		return nil, err
	}
	if !o.IsList() {
		return []*unstructured.Unstructured{o}, nil
	}
	var out []*unstructured.Unstructured
	err = o.EachListItem(func(item runtime.Object) error {
		out = append(out, item.(*unstructured.Unstructured))
		return nil
	})
	return out, err
}

// admit refuses a document that takes too much to read, before it is. One with aliases is more than its text.
func (r *manifestReader) admit(text string) error {
	bound := yamlbound.Bound{Bytes: maxDocument, Signs: maxSigns, Expanded: min(r.room, maxDocument+maxSigns*render.ValueWeight)}
	_, err := bound.Check([]byte(text))
	if errors.Is(err, yamlbound.ErrLarge) {
		return tooLarge("%w", err)
	}
	return err
}

// take uses up room.
func (r *manifestReader) take(weight int) error {
	if r.room -= weight; r.room < 0 {
		return tooLarge("all its values need more than %d bytes of memory", maxWeight)
	}
	return nil
}

func tooLarge(format string, args ...any) error {
	return fmt.Errorf("the manifest is too large to be read: "+format+"; split the objects of the chart, write them without aliases, "+
		"or, if nobody made the release like that, delete the Secret of this revision", args...)
}
