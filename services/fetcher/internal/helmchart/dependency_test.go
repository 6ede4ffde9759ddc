package helmchart

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartfile"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// Dependencies of a few bytes each in Chart.yaml take no more memory than one chart may.
func TestDependenciesAreBounded(t *testing.T) {
	const lib = "apiVersion: v2\nname: lib\nversion: 1.0.0\n"
	zeros := bytes.Repeat([]byte{0}, 30<<20)
	file := func(name string, content []byte) pack.File {
		return pack.File{Path: name, Open: func() (int64, io.ReadCloser, error) {
			return int64(len(content)), io.NopCloser(bytes.NewReader(content)), nil
		}}
	}
	for why, c := range map[string]struct {
		lines string // of Chart.yaml
		count int
		large bool
		files int // of the chart at the end
		fails string
	}{
		"one chart by aliases":           {`{name: lib, alias: a%[1]d, repository: "file://../lib"}`, 100, true, 3, ""},
		"as many charts as may be":       {`{name: lib%[1]d, repository: "file://../lib"}`, 100, false, 101, ""},
		"one more":                       {`{name: lib%[1]d, repository: "file://../lib"}`, 101, false, 0, "the chart 'app' lacks 101 dependencies, and 100 at most are added"},
		"large ones that go in together": {`{name: lib%[1]d, repository: "file://../lib"}`, 4, true, 9, ""},
		"one more large one":             {`{name: lib%[1]d, repository: "file://../lib"}`, 5, true, 0, "failed to add dependency 'lib4': with it the chart 'app' expands to more than 134217728 bytes"},
	} {
		var text strings.Builder
		text.WriteString("apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies:\n")
		for n := range c.count {
			fmt.Fprintf(&text, "- "+c.lines+"\n", n)
		}
		files := []pack.File{file("app/Chart.yaml", []byte(text.String())), file("lib/Chart.yaml", []byte(lib))}
		if c.large {
			files = append(files, file("lib/zeros", zeros))
		}
		a := &artifact{object: &sourcev1.HelmChart{}, path: "app", tree: chartfile.NewTree(files, 1<<20, 64<<20)}
		chart, err := a.tree.Chart(t.Context(), "app")
		if err != nil {
			t.Fatal(err)
		}
		switch err := a.vendor(t.Context(), chart); {
		case c.fails != "":
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: got %v, want %s", why, err, c.fails)
			}
		case err != nil:
			t.Errorf("%s: %v", why, err)
		case len(chart.Files()) != c.files:
			t.Errorf("%s: it has %d files, want %d", why, len(chart.Files()), c.files)
		}
	}
}
