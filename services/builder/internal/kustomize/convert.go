package kustomize

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// convert turns an object of kustomize's into one of Kubernetes'. kustomize's own
// way is through YAML text and JSON text, which costs more than building the object
// did; it is taken only where the value is not plain (see plain).
func convert(r *resource.Resource) (*unstructured.Unstructured, error) {
	if value, ok := plain(r.YNode()); ok {
		object, isObject := value.(map[string]any)
		u := &unstructured.Unstructured{Object: object}
		if isObject && u.GroupVersionKind().Kind != "" {
			return u, nil
		}
	}
	return convertText(r)
}

func convertText(r *resource.Resource) (*unstructured.Unstructured, error) {
	body, err := r.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", r.CurId(), err)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(body); err != nil {
		return nil, fmt.Errorf("decode %s: %w", r.CurId(), err)
	}
	return o, nil
}

// plain returns the value of a node, if writing it as YAML and reading it again
// cannot give another one: no comments, aliases, merged or repeated keys, numbers in
// unusual forms, dates, or characters that need care.
func plain(n *yaml.Node) (value any, ok bool) {
	if n == nil || n.Anchor != "" || n.HeadComment != "" || n.LineComment != "" || n.FootComment != "" {
		return nil, false
	}
	switch n.Kind {
	case yaml.MappingNode:
		return plainMap(n)
	case yaml.SequenceNode:
		return plainList(n)
	case yaml.ScalarNode:
		return plainScalar(n)
	default:
		return nil, false
	}
}

func plainMap(n *yaml.Node) (any, bool) {
	if n.Tag != "" && n.Tag != yaml.NodeTagMap || len(n.Content)%2 != 0 {
		return nil, false
	}
	object := make(map[string]any, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		key, ok := plain(n.Content[i])
		name, isText := key.(string)
		if !ok || !isText {
			return nil, false
		}
		if _, twice := object[name]; twice {
			return nil, false
		}
		if object[name], ok = plain(n.Content[i+1]); !ok {
			return nil, false
		}
	}
	return object, true
}

func plainList(n *yaml.Node) (any, bool) {
	if n.Tag != "" && n.Tag != yaml.NodeTagSeq {
		return nil, false
	}
	list := make([]any, len(n.Content))
	for i, element := range n.Content {
		var ok bool
		if list[i], ok = plain(element); !ok {
			return nil, false
		}
	}
	return list, true
}

func plainScalar(n *yaml.Node) (any, bool) {
	switch n.ShortTag() {
	case yaml.NodeTagString:
		return n.Value, plainText(n.Value)
	case yaml.NodeTagInt:
		number, err := strconv.ParseInt(n.Value, 10, 64)
		return number, err == nil && strconv.FormatInt(number, 10) == n.Value
	case yaml.NodeTagBool:
		return n.Value == "true", n.Value == "true" || n.Value == "false"
	case yaml.NodeTagNull:
		return nil, n.Value == "null"
	}
	return nil, false
}

// plainText says that a text needs no escapes in YAML, and no care about the white
// space of its lines.
func plainText(text string) bool {
	if !utf8.ValidString(text) || strings.HasPrefix(text, "\n") || strings.HasPrefix(text, " ") || strings.Contains(text, " \n") {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) })
}
