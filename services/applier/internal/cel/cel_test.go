package cel

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func compiler(t *testing.T) *Compiler {
	t.Helper()
	c, err := NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestObject(t *testing.T) {
	c := compiler(t)
	object := map[string]any{
		"data":     map[string]any{"phase": "Running", "list": []any{"a", "b"}},
		"metadata": map[string]any{"generation": int64(2)},
		"status":   map[string]any{"replicas": int64(3), "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
	}
	for _, tt := range []struct {
		why, text, err string
		want           bool
	}{
		{"a field", "data.phase == 'Running'", "", true},
		{"a loop", "status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True')", "", true},
		{"numbers of different types compare", "status.replicas > 2.5 && status.replicas == 3u", "", true},
		{"an optional field", "data.?nothing.orValue('x') == 'x'", "", true},
		{"strings", "data.list.join('-') == 'a-b' && 'a-b'.replace('-', '+') == 'a+b' && '%s'.format([data.phase]) == 'Running'", "", true},
		{"sets", "sets.contains(data.list, ['a'])", "", true},
		{"encoders", "base64.encode(b'a') == 'YQ=='", "", true},
		{"membership", "'a' in data.list && data.phase.matches('^R.*g$')", "", true},
		{"unequal", "data.phase != 'Running'", "", false},
		{"a missing field of a present one", "data.missing == 'x'", "no such key: missing", false},
		{"a missing field", "spec.replicas == 1", "no such attribute(s): spec.replicas", false},
		{"not a bool", "data.phase", "the result is of type string, not bool", false},
	} {
		e, err := c.Object(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.why, err)
			continue
		}
		got, err := e.Bool(t.Context(), object)
		if tt.err != "" {
			want := "failed to evaluate the CEL expression '" + tt.text + "': " + tt.err
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s: error is %v, want %s", tt.why, err, want)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: %v, %v", tt.why, got, err)
		}
	}
}

func TestDependency(t *testing.T) {
	c := compiler(t)
	variables := map[string]any{
		"self": map[string]any{"metadata": map[string]any{"labels": map[string]any{"v": "1"}}},
		"dep":  map[string]any{"metadata": map[string]any{"labels": map[string]any{"v": "1"}}},
	}
	for _, tt := range []struct{ why, text, err string }{
		{"both are seen", "self.metadata.labels['v'] == dep.metadata.labels['v']", ""},
		{"syntax", "self.metadata.", "failed to parse the CEL expression"},
		{"an unknown variable", "other.x == 1", "undeclared reference to 'other'"},
		{"not a bool", "'x'", "expected bool, got string"},
		{"maybe not a bool", "dep.metadata", "expected bool, got dyn"},
		{"mixed list", "[1, 'a'].size() == 2", "expected type 'int' but found 'string'"},
	} {
		e, err := c.Dependency(tt.text)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v", tt.why, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.why, err)
			continue
		}
		if got, err := e.Bool(t.Context(), variables); err != nil || !got {
			t.Errorf("%s: %v, %v", tt.why, got, err)
		}
		again, err := c.Dependency(tt.text)
		if err != nil || again != e {
			t.Errorf("%s: compiled twice: %v", tt.why, err)
		}
	}
}

// TestHostile holds every expression to its bounds: none takes long, and none
// makes much.
func TestHostile(t *testing.T) {
	c := compiler(t)
	var list []any
	for i := range 2000 {
		list = append(list, fmt.Sprint(i))
	}
	object := map[string]any{"big": strings.Repeat("a", 1<<20), "list": list}
	unfold := "[list].map(a, a.map(x, a)).map(b, b.map(x, b))" // 2000 to the power of four
	for _, tt := range []struct{ why, text string }{
		{"loops inside each other", "list.all(a, list.all(b, list.all(c, a != 'x' || b != c)))"},
		{"a replacement that multiplies", "big.replace('a', big).size() > 0"},
		{"a replacement of nothing", "big.replace('', big).size() > 0"},
		{"a join that multiplies", "list.map(x, big).join().size() > 0"},
		{"a join with a big separator", "list.join(big).size() > 0"},
		{"a format that multiplies", "'%s'.format([list.map(x, big)]).size() > 0"},
		{"a pattern as big as the text", "big.matches(big)"},
		{"equality of what unfolds", unfold + " == " + unfold},
		{"inequality of what unfolds", unfold + " != " + unfold},
		{"membership in what unfolds", unfold + " in [" + unfold + "]"},
		{"sets of what unfolds", "sets.contains(" + unfold + ", " + unfold + ")"},
		{"format of what unfolds", "'%s'.format([" + unfold + "]) == ''"},
		{"a text that is too long", "true" + strings.Repeat(" && true", maxText)},
		{"a tree that is too deep", strings.Repeat("(", 1000) + "true" + strings.Repeat(")", 1000)},
	} {
		began := time.Now()
		e, err := c.Object(tt.text)
		if err == nil {
			_, err = e.Bool(t.Context(), object)
		}
		if took := time.Since(began); err == nil || took > 5*timeLimit {
			t.Errorf("%s: %v after %s", tt.why, err, took)
		} else {
			t.Logf("%s: %.120s after %s", tt.why, err.Error()[max(0, len(err.Error())-120):], took)
		}
	}
}
