package chartindex_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartindex"
)

// An index that is far larger when read than it looks is refused within little memory, in words that say
// what to do about it.
func TestBombs(t *testing.T) {
	const head, limit = "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n", 512 << 20
	const remedy = "let the repository write its index"
	laughs := head + "    keywords: &a0 [x, x, x, x, x, x, x, x, x]\n    annotations:\n"
	for i := range 9 {
		laughs += fmt.Sprintf("      a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 9))
	}
	for _, c := range []struct{ why, index, want string }{
		{"64 MiB in flow style", "{apiVersion: v1, entries: {a: [" + strings.Repeat("{name: a, version: 1.0.0}, ", 64<<20/27) + "]}}", remedy},
		{"anchors over charts of 20,000 versions", "x: &x [k]\n" + string(large(20_000)), remedy},
		{"a version of very many values", head + "    keywords: [" + strings.Repeat("a,", 16<<20) + "]\n", remedy},
		{"a version of many values", head + "    keywords: [" + strings.Repeat("a,", 1<<19) + "]\n", remedy},
		{"a long text again and again", head + "    description: &a \"" + strings.Repeat("x", 500<<10) + "\"\n    keywords: [" + strings.Repeat("*a,", 2000) + "]\n", "aliases"},
		{"a billion laughs", laughs, "excessive aliasing"},
		{"a name of many values", "apiVersion: v1\nentries:\n  [" + strings.Repeat("a,", 4<<20) + "]:\n  - name: a\n    version: 1.0.0\n", remedy},
		{"annotations of many values", head + "annotations: {" + strings.Repeat("? a,", 4<<20) + "}\n", remedy},
		{"JSON of empty versions", `{"apiVersion":"v1","entries":{"a":[` + strings.Repeat("{},", 12<<20) + `{}]}}`, "values"},
		{"JSON of empty dependencies", `{"apiVersion":"v1","entries":{"a":[{"name":"a","version":"1.0.0","dependencies":[` + strings.Repeat("{},", 12<<20) + `{}]}]}}`, "values"},
		{"JSON of empty URLs", `{"apiVersion":"v1","entries":{"a":[{"name":"a","version":"1.0.0","urls":[` + strings.Repeat(`"",`, 16<<20) + `""]}]}}`, "values"},
		{"JSON of no versions", `{"apiVersion":"v1","entries":{"a":[` + strings.Repeat("null,", 10<<20) + `null]}}`, "values"},
		{"JSON of empty lists", `{"apiVersion":"v1","serverInfo":{"a":[` + strings.Repeat("[],", 16<<20) + `[]]},"entries":{}}`, "values"},
		{"JSON of many versions", `{"apiVersion":"v1","entries":{"a":[` + strings.Repeat(`{"version":"1"},`, 400_000) + `{}]}}`, "versions"},
		{"YAML of no versions", "apiVersion: v1\nentries:\n a:\n" + strings.Repeat(" -\n", 16<<20), "versions"},
		{"YAML of charts without versions", "apiVersion: v1\nentries:\n" + names(4<<20), "versions"},
	} {
		t.Run(c.why, func(t *testing.T) {
			data := []byte(c.index)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := chartindex.Normalise(t.Context(), data, discard{})
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
				t.Errorf("got %.500v, want %q in it", err, c.want)
			}
			if all := after.TotalAlloc - before.TotalAlloc; all > limit {
				t.Errorf("of %d MiB %d were made in memory, want less than %d", len(data)>>20, all>>20, limit>>20)
			}
		})
	}
}

// Versions that are each small enough are refused when they are far larger together, as JSON: that writes < as \u003c.
func TestAliasesOfAllVersions(t *testing.T) {
	version := "  - name: a\n    version: 1.0.0\n    description: &a \"" + strings.Repeat("<", 30<<10) + "\"\n    keywords: [" + strings.Repeat("*a,", 100) + "]\n"
	for versions, refused := range map[int]bool{2: false, 6: true} {
		_, err := chartindex.Normalise(t.Context(), []byte("apiVersion: v1\nentries:\n  a:\n"+strings.Repeat(version, versions)), discard{})
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "let the repository write its index") {
			t.Errorf("%d versions: error %v", versions, err)
		}
	}
}

// names are lines of so many charts.
func names(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " c%x:\n", i)
	}
	return b.String()
}

// However many entries are not valid, one line of the log says so, with what is wrong with one of them.
func TestOneWarning(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	text := "apiVersion: v1\nentries:\n  a:\n" + strings.Repeat("  - name: a\n    version: "+strings.Repeat("x", 1000)+"\n", 500)
	if _, err := chartindex.Normalise(t.Context(), []byte(text), discard{}); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "entries=500") || !strings.Contains(got, "chart.metadata.version") || len(got) > 1000 {
		t.Errorf("the log says %.2000s", got)
	}
}

// asked is a context that ends when it is asked so often.
type asked struct {
	context.Context

	left int
}

// Err implements context.Context.
func (a *asked) Err() error {
	if a.left--; a.left < 0 {
		return context.Canceled
	}
	return nil
}

// What nobody waits for any more ends within a chart too, in JSON as well.
func TestAChartEndsWithItsContext(t *testing.T) {
	text := `{"apiVersion":"v1","entries":{"a":[` + strings.Repeat("{},", 100) + `{}]}}`
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := chartindex.Normalise(&asked{ctx, 50}, []byte(text), discard{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What tables take in memory is bounded, whatever the length of what they hold.
func TestTablesGoByBytes(t *testing.T) {
	tables := chartindex.NewTables(8 << 10)
	for _, name := range []string{"one", "other"} {
		text := "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n    urls: [" + strings.Repeat("x", 5<<10) + ", other]\n"
		index, err := chartindex.Normalise(t.Context(), []byte(text), discard{})
		if err != nil {
			t.Fatal(err)
		}
		tables.Put(name, index)
	}
	if tables.Get("one") != nil || tables.Get("other") == nil {
		t.Error("want only the last one of two that are too large together")
	}
}

// What is wrong with one version of a large index is told as it is.
func TestAMistakeInALargeIndex(t *testing.T) {
	text := string(large(20_000)) + "  wrong:\n  - nme: wrong\n    version: 1.0.0\n"
	_, err := chartindex.Normalise(t.Context(), []byte(text), discard{})
	if err == nil || !strings.Contains(err.Error(), `chart "wrong": `) || !strings.Contains(err.Error(), `unknown field "nme"`) {
		t.Errorf("got %v", err)
	}
}

// Large indexes are read in the layout of every tool, and as JSON.
func TestLargeIndexes(t *testing.T) {
	for _, c := range []struct{ why, index string }{
		{"signs of anchors that are none", strings.ReplaceAll(string(large(5_000)), "word ", "R&D *all* ")},
		{"JSON", `{"apiVersion":"v1","entries":{"chart-00":[` + strings.Repeat(`{"name":"chart-00","version":"1.0.0","description":"`+strings.Repeat("word ", 60)+`","dependencies":[{"name":"a","version":"1"}]},`, 20_000) +
			`{"name":"chart-00","version":"1.0.1"}]}}`},
	} {
		index, err := chartindex.Normalise(t.Context(), []byte(c.index), discard{})
		if err != nil {
			t.Errorf("%s: %v", c.why, err)
			continue
		}
		if _, err := index.Find("chart-00", ""); err != nil {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}
