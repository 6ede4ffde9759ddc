package yamlbound

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/render"
)

func TestCheck(t *testing.T) {
	bound := Bound{Bytes: 64 << 10, Signs: 4 << 10, Expanded: 2 << 20}
	again := func(text string, n int) string { return "a: &a " + text + "\nb: [" + strings.Repeat("*a,", n) + "]\n" }
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 9))
	}
	for _, c := range []struct {
		why, text  string
		large, err bool
	}{
		{"nothing", "", false, false},
		{"what honest files have", again("{x: y}", 10), false, false},
		{"signs of anchors that are none", "a: 'R&D'\nb: '*'\n", false, false},
		{"no YAML, and no aliases", "a: [", false, false},
		{"many bytes", strings.Repeat("x", 64<<10+1), true, true},
		{"many values", "[" + strings.Repeat("a,", 4<<10) + "]", true, true},
		{"a long text again and again", again(strings.Repeat("x", 30<<10), 1000), true, true},
		{"as often as there is room", again(strings.Repeat("x", 30<<10), 50), false, false},
		{"one that JSON writes longer", again("'"+strings.Repeat("<", 30<<10)+"'", 50), true, true},
		{"one that is no text", again("!!binary "+base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\xff", 20<<10))), 50), true, true},
		{"in keys", again(strings.Repeat("x", 30<<10), 1) + "c: [" + strings.Repeat("{*a : 1},", 1000) + "]\n", true, true},
		{"merged", "a: &a {x: " + strings.Repeat("x", 30<<10) + "}\nb: [" + strings.Repeat("{<<: *a},", 500) + "]\n", true, true},
		{"a billion laughs", laughs, false, true},
	} {
		weight, err := bound.Check([]byte(c.text))
		if errors.Is(err, ErrLarge) != c.large || (err != nil) != c.err {
			t.Errorf("%s: error %v, want one %t, for its size %t", c.why, err, c.err, c.large)
		}
		if err == nil && weight < len(c.text) || weight > bound.Bytes+bound.Signs*render.ValueWeight+bound.Expanded {
			t.Errorf("%s: %d bytes weigh %d", c.why, len(c.text), weight)
		}
	}
}
