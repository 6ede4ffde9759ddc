package engine

import (
	"reflect"
	"slices"
	"strconv"

	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// difference is a field in which two objects differ; a value that is nil is absent.
type difference struct {
	at         ignore.Pointer
	live, want any
}

// bookkeeping are fields of metadata that the API server keeps.
var bookkeeping = []string{"managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink"}

// differences compares a live object with what it would be, without its status and
// what the API server keeps in the metadata.
func differences(live, want *unstructured.Unstructured) []difference {
	return compare(nil, nil, content(live), content(want))
}

func content(o *unstructured.Unstructured) map[string]any {
	out := map[string]any{}
	for k, v := range o.Object {
		if k != "status" {
			out[k] = v
		}
	}
	metadata := map[string]any{}
	m, _ := o.Object["metadata"].(map[string]any)
	for k, v := range m {
		if !slices.Contains(bookkeeping, k) {
			metadata[k] = v
		}
	}
	out["metadata"] = metadata
	return out
}

// compare adds to found what differs at a place and below.
func compare(found []difference, at ignore.Pointer, live, want any) []difference {
	switch l := live.(type) {
	case map[string]any:
		if w, ok := want.(map[string]any); ok {
			for _, key := range keysOf(l, w) {
				found = compare(found, append(slices.Clip(at), key), l[key], w[key])
			}
			return found
		}
	case []any:
		if w, ok := want.([]any); ok && len(l) == len(w) {
			for n := range l {
				found = compare(found, append(slices.Clip(at), strconv.Itoa(n)), l[n], w[n])
			}
			return found
		}
	}
	if reflect.DeepEqual(live, want) {
		return found
	}
	return append(found, difference{at: at, live: live, want: want})
}

func keysOf(maps ...map[string]any) []string {
	var keys []string
	for _, m := range maps {
		for k := range m {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
