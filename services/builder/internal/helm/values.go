package helm

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"helm.sh/helm/v3/pkg/strvals"
	"sigs.k8s.io/yaml"
)

// ErrValues says that a release's values cannot be put together as the spec says, which its
// author can help.
var ErrValues = errors.New("could not resolve")

// Values are what the values that a HelmRelease sets are made of. They are put together where the chart is rendered: a short
// text may make values of any size. They may be secret.
type Values struct {
	// Inline is spec.values; empty when there is none.
	Inline json.RawMessage `json:"inline,omitempty"`
	// From has the references that were found, in the order of the spec.
	From []ValuesFrom `json:"from,omitempty"`
	// Texts are what references name, each once.
	Texts [][]byte `json:"texts,omitempty"`
}

// ValuesFrom is a reference and which of the texts it names.
type ValuesFrom struct {
	helmv2.ValuesReference `json:"reference"`
	Text                   int `json:"text"`
}

// merged puts the values together: valuesFrom in their order, the inline ones last. A reference
// with a targetPath sets one value, as helm --set does, onto what is there with the inline values
// merged in (helm-controller's order). The release's namespace is only for its errors.
func (v Values) merged(namespace string) (map[string]any, error) {
	inline := map[string]any{}
	if len(v.Inline) > 0 {
		if err := yaml.Unmarshal(v.Inline, &inline); err != nil {
			return nil, fmt.Errorf("%w spec.values: %w", ErrValues, err)
		}
	}
	values := map[string]any{}
	for _, ref := range v.From {
		body := v.Texts[ref.Text]
		if ref.TargetPath == "" {
			var more map[string]any
			if err := yaml.Unmarshal(body, &more); err != nil {
				return nil, Unresolved(namespace, ref.ValuesReference, errors.New("it is no YAML map"))
			}
			values = mergeValues(values, more)
			continue
		}
		values = mergeValues(values, inline)
		if err := setValue(values, ref.ValuesReference, string(body)); err != nil {
			return nil, Unresolved(namespace, ref.ValuesReference, fmt.Errorf("it cannot be set at %s", ref.TargetPath))
		}
	}
	return mergeValues(values, inline), nil
}

// Unresolved says why what a reference in a namespace names cannot be used. It is an ErrValues.
func Unresolved(namespace string, ref helmv2.ValuesReference, why error) error {
	return fmt.Errorf("%w %s chart values reference '%s/%s' with key '%s': %w", ErrValues, ref.Kind, namespace, ref.Name, ref.GetValuesKey(), why)
}

// setValue sets what a reference holds at its path: literally, as a text when it is in
// quotes, else as helm --set reads it.
func setValue(values map[string]any, ref helmv2.ValuesReference, body string) error {
	set := ref.TargetPath + "="
	switch {
	case ref.Literal:
		return strvals.ParseLiteralInto(set+body, values)
	case quoted(body, "'"):
		return strvals.ParseIntoString(set+strings.Trim(body, "'"), values)
	case quoted(body, `"`):
		return strvals.ParseIntoString(set+strings.Trim(body, `"`), values)
	}
	return strvals.ParseInto(set+body, values)
}

func quoted(s, by string) bool {
	return len(s) > 1 && strings.HasPrefix(s, by) && strings.HasSuffix(s, by)
}

// mergeValues returns a with b merged over it: maps key by key, all else replaced.
func mergeValues(a, b map[string]any) map[string]any {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]any{}
	}
	for key, value := range b {
		if more, ok := value.(map[string]any); ok {
			if have, ok := out[key].(map[string]any); ok {
				out[key] = mergeValues(have, more)
				continue
			}
		}
		out[key] = value
	}
	return out
}
