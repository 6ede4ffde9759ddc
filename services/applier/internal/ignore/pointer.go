package ignore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pointer is a JSON pointer (RFC 6901) as its unescaped tokens; none is the whole object.
type Pointer []string

// ParsePointer reads a JSON pointer such as /spec/replicas.
func ParsePointer(text string) (Pointer, error) {
	if text == "" {
		return Pointer{}, nil
	}
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("%q is no JSON pointer: write one such as \"/spec/replicas\"", text)
	}
	tokens := strings.Split(text[1:], "/")
	for i, t := range tokens {
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(t)
	}
	return tokens, nil
}

// String returns the pointer as RFC 6901 writes it.
func (p Pointer) String() string {
	var out strings.Builder
	for _, t := range p {
		out.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(t))
	}
	return out.String()
}

// child returns what a token leads to.
func child(node any, token string) (any, bool) {
	switch n := node.(type) {
	case map[string]any:
		c, ok := n[token]
		return c, ok
	case []any:
		if i, ok := index(token, len(n)); ok {
			return n[i], true
		}
	}
	return nil, false
}

func index(token string, size int) (int, bool) {
	i, err := strconv.Atoi(token)
	return i, err == nil && i >= 0 && i < size
}

func find(node any, p Pointer) (any, bool) {
	for _, token := range p {
		next, ok := child(node, token)
		if !ok {
			return nil, false
		}
		node = next
	}
	return node, true
}

// put returns node with a value at p. Maps on the way are made, items of lists are not.
func put(node any, p Pointer, value any) any {
	if len(p) == 0 {
		return value
	}
	switch n := node.(type) {
	case nil:
		return map[string]any{p[0]: put(nil, p[1:], value)}
	case map[string]any:
		n[p[0]] = put(n[p[0]], p[1:], value)
	case []any:
		if i, ok := index(p[0], len(n)); ok {
			n[i] = put(n[i], p[1:], value)
		}
	}
	return node
}

// remove returns node without what is at p, which is not the whole.
func remove(node any, p Pointer) any {
	switch n := node.(type) {
	case map[string]any:
		if len(p) == 1 {
			delete(n, p[0])
		} else if c, ok := n[p[0]]; ok {
			n[p[0]] = remove(c, p[1:])
		}
	case []any:
		i, ok := index(p[0], len(n))
		switch {
		case ok && len(p) == 1:
			return slices.Delete(n, i, i+1)
		case ok:
			n[i] = remove(n[i], p[1:])
		}
	}
	return node
}

// counterpart returns the pointer to the same field of a live object: an item of a
// list is found by its name, because others may have put theirs before it.
func counterpart(desired, live any, p Pointer) Pointer {
	found := make(Pointer, 0, len(p))
	for _, token := range p {
		next, _ := child(desired, token)
		items, isList := live.([]any)
		if item, ok := next.(map[string]any); ok && isList && item["name"] != nil {
			token = strconv.Itoa(slices.IndexFunc(items, func(other any) bool {
				o, ok := other.(map[string]any)
				return ok && o["name"] == item["name"]
			})) // -1 leads nowhere, as it should
		}
		found = append(found, token)
		desired = next
		live, _ = child(live, token)
	}
	return found
}

// Find returns what is at the pointer.
func (p Pointer) Find(node any) (any, bool) { return find(node, p) }

// Within reports whether other is the pointer or leads below it.
func (p Pointer) Within(other Pointer) bool {
	return len(p) >= len(other) && slices.Equal(p[:len(other)], other)
}
