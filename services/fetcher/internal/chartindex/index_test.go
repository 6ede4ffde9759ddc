package chartindex_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/repo"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartindex"
)

const usual = `apiVersion: v1
entries:
  beta:
  - apiVersion: v2
    created: "2024-05-01T10:00:00Z"
    description: |
      Two lines,
      beta:
      - and none of them an item
    digest: bb
    name: beta
    urls:
    - charts/beta-1.0.0.tgz
    version: 1.0.0
  # between charts
  alpha:
  - apiVersion: v2
    created: "2024-01-01T10:00:00Z"
    name: alpha
    dependencies:
    - name: beta
      repository: https://charts.example.com
      version: ">=1 <2"
    urls: [alpha-1.2.0.tgz]
    version: 1.2.0

  - apiVersion: v2
    created: "2024-02-01T10:00:00Z"
    name: alpha
    urls: [alpha-1.10.0.tgz]
    version: 1.10.0
  - apiVersion: v2
    name: alpha
    urls: [alpha-2.0.0-rc.1.tgz]
    version: 2.0.0-rc.1
generated: "2024-06-01T10:00:00Z"
`

// indexes are read as Helm reads them, whatever their layout.
var indexes = []struct{ why, text string }{
	{"the usual layout", usual},
	{"items further in, names quoted, a document's start", "---\napiVersion: v1\nentries:\n    \"a\":\n      - name: a\n        version: 1.0.0\n      - name: a\n        version: 2.0.0\n"},
	{"no entries", "apiVersion: v1\nentries: {}\n"},
	{"JSON with an unknown field", `{"apiVersion":"v1","entries":{"a":[{"name":"a","version":"1.0.0","extra":1}]},"extra":2}`},
	{"entries that are not valid", "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: nonsense\n  -\n  - name: a\n    version: 1.0.0\n  - version: 2.0.0\n"},
	{"dependencies without their aliases", "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n    dependencies: [{name: b, repository: x}, {name: b, repository: x}]\n"},
	{"keys and annotations", "apiVersion: v1\nannotations: {x: <y>}\npublicKeys: [k]\nserverInfo: {contextPath: /x}\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n"},
	{"a chart with an empty list", one + "  gone: []\n" + other},
	{"a chart with null", one + "  gone: null\n" + other},
	{"a chart with nothing", one + "  gone:\n" + other},
	{"a list in flow style", one + "  gone: [{name: gone, version: 1.0.0}] # one\n" + other},
	{"a list in flow style on more lines", one + "  gone: [\n    {name: gone, version: 1.0.0},\n    {name: gone, version: 2.0.0}\n  ]\n" + other},
	{"a list with an anchor", one + "  gone: &g\n  - name: gone\n    version: 1.0.0\n" + other},
	{"a comment after entries", strings.Replace(one, "entries:", "entries: # charts", 1)},
	{"a comment after a name", one + "  gone: # deprecated\n  - name: gone\n    version: 1.0.0\n" + other},
	{"tabs after names", strings.Replace(one, "entries:", "entries:\t", 1) + "  gone:\t\n  - name: gone\n    version: 1.0.0\n" + other},
	{"entries in double quotes", strings.Replace(one, "entries:", `"entries":`, 1)},
	{"entries in single quotes", strings.Replace(one, "entries:", "'entries':", 1)},
	{"a name with a colon", one + "  \"a: b\":\n  - name: gone\n    version: 1.0.0\n" + other},
	{"a directive", "%YAML 1.1\n---\n" + one},
	{"a second document", one + "---\nother: document\n"},
	{"a second index", one + "--- # again\n" + one},
	{"a document's end", one + "...\n"},
}

const (
	one   = "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n"
	other = "  b:\n  - name: b\n    version: 1.0.0\n"
)

// wholes are read as Helm reads them while they are small: they are decoded at once.
var wholes = []struct{ why, text string }{
	{"flow style", "{apiVersion: v1, entries: {a: [{name: a, version: 1.0.0}]}}"},
	{"an anchor in one chart, used in another", "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n    keywords: &k [x]\n  b:\n  - name: b\n    version: 1.0.0\n    keywords: *k\n"},
	{"a scalar that looks like the next chart", "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n    description: \"one\n  b:\n  - two\"\n"},
	{"a scalar that looks like entries", "apiVersion: \"v1\nentries:\n  a:\"\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n"},
}

// makeLarge makes an index larger than what is decoded at once.
func makeLarge(text string) string {
	if text[0] == '{' {
		return text + strings.Repeat(" ", 5<<20)
	}
	return strings.Repeat("# a comment\n", 5<<20/12) + text
}

func TestNormalise(t *testing.T) {
	for _, c := range slices.Concat(indexes, wholes) {
		t.Run(c.why, func(t *testing.T) { normalisesAsHelm(t, c.text) })
	}
	for _, c := range indexes {
		t.Run("large: "+c.why, func(t *testing.T) { normalisesAsHelm(t, makeLarge(c.text)) })
	}
	for _, c := range wholes {
		t.Run("large: "+c.why, func(t *testing.T) {
			_, err := chartindex.Normalise(t.Context(), []byte(makeLarge(c.text)), discard{})
			if err == nil || !strings.Contains(err.Error(), "let the repository write its index") {
				t.Errorf("got %v, want the remedy", err)
			}
		})
	}
}

func normalisesAsHelm(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	helms, err := repo.LoadIndexFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(helms)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	index, err := chartindex.Normalise(t.Context(), []byte(text), &got)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got  %s\nwant %s", got.String(), want)
	}
	read, err := chartindex.Read(&got)
	if err != nil {
		t.Fatal(err)
	}
	for name := range helms.Entries {
		one, err1 := index.Find(name, "")
		other, err2 := read.Find(name, "")
		if fmt.Sprint(one, err1) != fmt.Sprint(other, err2) {
			t.Errorf("%s: %v %v, and read again %v %v", name, one, err1, other, err2)
		}
	}
}

func TestNormaliseRefuses(t *testing.T) {
	for _, c := range []struct{ why, text, want string }{
		{"nothing", "", "empty index.yaml file"},
		{"no version of the format", "entries: {}\n", "no API version specified"},
		{"no YAML", "apiVersion: v1\nentries:\n  a: [\n", "yaml"},
		{"a web page", "<html><body>Not found</body></html>", "cannot unmarshal"},
		{"an unknown field", "apiVersion: v1\nentries:\n  a:\n  - nme: a\n    version: 1.0.0\n", `unknown field "nme"`},
		{"one chart twice", "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n  a:\n  - name: a\n    version: 1.0.0\n", "already set"},
		{"entries twice", one + "entries:\n" + other, "already set"},
		{"a large one with an unknown field", makeLarge(one + "wrong: field\n"), `unknown field "wrong"`},
		{"a large one with one chart twice", makeLarge(one + "  a:\n  - name: a\n    version: 1.0.0\n"), "already set"},
		{"a large one with entries twice", makeLarge(one + "entries:\n" + other), "already set"},
		{"a large one with a map of versions", makeLarge(one + "  gone: {}\n"), "cannot unmarshal object"},
	} {
		t.Run(c.why, func(t *testing.T) {
			_, err := chartindex.Normalise(t.Context(), []byte(c.text), &bytes.Buffer{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestFind(t *testing.T) {
	index, err := chartindex.Normalise(t.Context(), []byte(usual), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ why, chart, within, want, err string }{
		{"no range", "alpha", "", "1.10.0", ""},
		{"any", "alpha", "*", "1.10.0", ""},
		{"a range", "alpha", "<1.10.0", "1.2.0", ""},
		{"prereleases when the range has one", "alpha", ">=1.0.0-0", "2.0.0-rc.1", ""},
		{"exactly", "alpha", "1.2.0", "1.2.0", ""},
		{"none in range", "alpha", "9.x", "", "no 'alpha' chart with version matching '9.x' found"},
		{"no range at all", "alpha", "nonsense", "", "version 'nonsense'"},
		{"no such chart", "gamma", "", "", "no chart name found"},
	} {
		t.Run(c.why, func(t *testing.T) {
			got, err := index.Find(c.chart, c.within)
			if got.Version != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v, error %v", got, err)
			}
		})
	}
}

// What nobody waits for any more ends, at whatever entry it is.
func TestNormaliseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range slices.Concat(indexes, wholes) {
		t.Run(c.why, func(t *testing.T) {
			if _, err := chartindex.Normalise(ctx, []byte(c.text), discard{}); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// large is an index of n versions of 20 charts.
func large(n int) []byte {
	var b bytes.Buffer
	b.WriteString("apiVersion: v1\nentries:\n")
	for c := range 20 {
		fmt.Fprintf(&b, "  chart-%02d:\n", c)
		for v := range n / 20 {
			fmt.Fprintf(&b, "  - apiVersion: v2\n    appVersion: %d.0.0\n    created: \"2024-05-01T10:00:00Z\"\n    description: %s\n    digest: %064d\n    home: https://example.com\n    keywords:\n    - one\n    - two\n    maintainers:\n    - email: someone@example.com\n      name: someone\n    name: chart-%02d\n    sources:\n    - https://example.com/source\n    urls:\n    - charts/chart-%02d-1.%d.0.tgz\n    version: 1.%d.0\n", v, strings.Repeat("word ", 60), v, c, c, v, v)
		}
	}
	return b.Bytes()
}

// BenchmarkLarge compares with Helm's own reader; held-MB is what the table keeps.
func BenchmarkLarge(b *testing.B) {
	data := large(20_000)
	b.Run("sluice", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			before := heap()
			index, err := chartindex.Normalise(b.Context(), data, discard{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(heap()-before)/(1<<20), "held-MB")
			runtime.KeepAlive(index)
		}
	})
	b.Run("helm", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "index.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			before := heap()
			index, err := repo.LoadIndexFile(path)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := json.Marshal(index); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(heap()-before)/(1<<20), "held-MB")
			runtime.KeepAlive(index)
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
