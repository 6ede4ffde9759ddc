package release

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestBombs refuses, within little memory, manifests that are far larger when read than they look.
func TestBombs(t *testing.T) {
	const head, limit = "apiVersion: v1\nkind: A\nmetadata: {name: a}\n", 400 << 20
	laughs := head + "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 9))
	}
	for _, tt := range []struct{ why, manifest, err string }{
		{"a long text again and again", head + "a: &a \"" + strings.Repeat("x", 500<<10) + "\"\nl: [" + strings.Repeat("*a,", 1000) + "]\n", "aliases"},
		{"a billion laughs", laughs, "excessive aliasing"},
		{"short texts in a list", head + "l: [" + strings.Repeat("a,", 2_500_000) + "]\n", "too large"},
		{"short fields", head + "l: [" + strings.Repeat("a: b,", maxSigns) + "]\n", "too large"},
		{"lists in lists", head + "l: \n" + strings.Repeat("- ", maxSigns+1) + "\n", "too large"},
		{"one large document", head + "l: " + strings.Repeat("x", maxDocument) + "\n", "too large"},
		{"many documents", strings.Repeat("---\na\n", maxDocuments+2), "too large"},
		{"many documents of many values", strings.Repeat(head+"l: ["+strings.Repeat("a,", maxSigns/2)+"]\n---\n", 8), "all its values"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := parse(tt.manifest)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v, want one with %q", tt.why, err, tt.err)
		}
		if all := after.TotalAlloc - before.TotalAlloc; all > limit {
			t.Errorf("%s: %d MiB were allocated, want less than %d", tt.why, all>>20, limit>>20)
		} else {
			t.Logf("%s: %d KiB of manifest, %d MiB allocated in all", tt.why, len(tt.manifest)>>10, all>>20)
		}
	}
}

// TestHonestManifests reads what Helm stored with anchors, and a large one.
func TestHonestManifests(t *testing.T) {
	const object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	large := strings.Repeat(object+"data:\n  text: |\n"+strings.Repeat("    {\"a\": [1, 2, 3], \"b\": \"c\"}\n", 10_000)+"---\n", 20)
	for _, tt := range []struct {
		why, manifest string
		objects       int
	}{
		{"anchors", object + "data: &d {a: b}\nmore: *d\nmerged: {<<: *d, c: d}\n---\n" + object, 2},
		{"signs of anchors that are none", object + "data: {a: \"&&\", b: \"*\"}\n", 1},
		{"a list", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A}\n- {apiVersion: v1, kind: B}\n", 2},
		{"empty documents", "---\n# none\n---\n" + object, 1},
		{"twenty large texts", large, 20},
		{"ten thousand objects", strings.Repeat("---\n"+object+"data: {a: b, c: d, e: f}\n", 10_000), 10_000},
	} {
		if got, err := parse(tt.manifest); err != nil || len(got) != tt.objects {
			t.Errorf("%s: error %v, %d objects, want %d", tt.why, err, len(got), tt.objects)
		}
	}
}
