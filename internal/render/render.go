// Package render is the form in which a builder hands rendered Kubernetes objects
// to an applier: what a sealed render holds once it is opened.
package render

import (
	"bytes"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Object is one rendered object and the file of the artifact it came from.
type Object struct {
	// Origin is the path inside the artifact, empty when unknown (generated).
	Origin string
	*unstructured.Unstructured
}

type wire struct {
	Origin string          `json:"origin,omitempty"`
	Object json.RawMessage `json:"object"`
}

// Encode writes objects in their order, one JSON document a line with sorted
// keys, so that equal objects give equal bytes.
func Encode(objects []Object) ([]byte, error) {
	var out bytes.Buffer
	for _, o := range objects {
		body, err := json.Marshal(o.Unstructured.Object)
		if err != nil {
			return nil, fmt.Errorf("encode %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
		}
		line, err := json.Marshal(wire{Origin: o.Origin, Object: body})
		if err != nil {
			return nil, fmt.Errorf("encode %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
		}
		out.Write(line)
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}

// Decode reads what Encode wrote.
func Decode(body []byte) ([]Object, error) {
	var objects []Object
	for n, line := range bytes.Split(body, []byte{'\n'}) {
		if len(line) == 0 {
			continue
		}
		var w wire
		if err := json.Unmarshal(line, &w); err != nil {
			return nil, fmt.Errorf("decode render line %d: %w", n+1, err)
		}
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(w.Object); err != nil {
			return nil, fmt.Errorf("decode render line %d: %w", n+1, err)
		}
		objects = append(objects, Object{Origin: w.Origin, Unstructured: u})
	}
	return objects, nil
}
