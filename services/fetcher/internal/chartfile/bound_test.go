package chartfile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// packed is a package with files, and zeros at its end that belong to none.
func packed(t *testing.T, files map[string][]byte, zeros int64) []byte {
	t.Helper()
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	entries := tar.NewWriter(zip)
	for name, content := range files {
		if err := entries.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := entries.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if zeros > 0 {
		if err := entries.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "x/zeros", Mode: 0o644, Size: zeros}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(entries, none{}, zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(entries.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// none is all zeros.
type none struct{}

// Read implements io.Reader.
func (none) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Packages within a package count together, however small each of them is.
func TestPackagesExpandToLittle(t *testing.T) {
	definition := []byte("apiVersion: v2\nname: x\nversion: 1.0.0\n")
	half := packed(t, nil, maxExpanded/2+1)
	for name, c := range map[string]struct {
		files map[string][]byte
		limit bool
	}{
		"one small enough":       {map[string][]byte{"Chart.yaml": definition, "charts/a.tgz": packed(t, map[string][]byte{"a/Chart.yaml": bytes.ReplaceAll(definition, []byte("x"), []byte("a"))}, 0)}, false},
		"two too large together": {map[string][]byte{"Chart.yaml": definition, "charts/a.tgz": half, "charts/b.tgz": half}, true},
		"two within one":         {map[string][]byte{"Chart.yaml": definition, "charts/c.tgz": packed(t, map[string][]byte{"c/charts/a.tgz": half, "c/charts/b.tgz": half}, 0)}, true},
		"no package by its name": {map[string][]byte{"Chart.yaml": definition, "files/a.tgz": half, "files/b.tgz": half}, false},
	} {
		var files []pack.File
		inside := map[string][]byte{}
		for path, data := range c.files {
			files = append(files, pack.File{Path: path, Open: func() (int64, io.ReadCloser, error) {
				return int64(len(data)), io.NopCloser(bytes.NewReader(data)), nil
			}})
			inside["x/"+path] = data
		}
		if _, err := NewTree(files, maxExpanded, maxExpanded).Chart(t.Context(), "."); errors.Is(err, pack.ErrLimit) != c.limit || err != nil && !c.limit {
			t.Errorf("%s, in a folder: %v", name, err)
		}
		if _, err := Open(packed(t, inside, 0)); errors.Is(err, pack.ErrLimit) != c.limit || err != nil && !c.limit {
			t.Errorf("%s, in a package: %v", name, err)
		}
	}
}

// YAML that is far larger when it is read than it looks is refused before it is, wherever a chart has it.
func TestChartsOfBombs(t *testing.T) {
	definition := "apiVersion: v2\nname: x\nversion: 1.0.0\n"
	bomb := "a: &a \"" + strings.Repeat("x", 40<<10) + "\"\nb: [" + strings.Repeat("*a,", 500) + "]\n"
	half := "a: [" + strings.Repeat("a,", 240<<10) + "]\n"
	inner := string(packed(t, map[string][]byte{"a/Chart.yaml": []byte(strings.Replace(definition, "x", "a", 1)), "a/values.yaml": []byte(bomb)}, 0))
	many := map[string]string{"values.yaml": "a: 1\n"}
	for _, name := range []string{"a", "b", "c"} {
		many["charts/"+name+"/Chart.yaml"], many["charts/"+name+"/values.yaml"] = strings.Replace(definition, "x", name, 1), half
	}
	for _, c := range []struct {
		why   string
		files map[string]string
		limit bool
	}{
		{"its values", map[string]string{"values.yaml": bomb}, true},
		{"its definition", map[string]string{"Chart.yaml": definition + bomb}, true},
		{"its lock file", map[string]string{"Chart.lock": bomb}, true},
		{"an old list of dependencies", map[string]string{"requirements.yaml": bomb}, true},
		{"the values of a dependency in a folder", map[string]string{"charts/a/charts/b/values.yaml": bomb}, true},
		{"the values of a dependency in a package", map[string]string{"charts/a.tgz": inner}, true},
		{"values of dependencies that are large together", many, true},
		{"a file that nobody reads as YAML", map[string]string{"files/values.yaml": bomb, "crds/values.yaml": bomb}, false},
		{"anchors that are used a few times", map[string]string{"values.yaml": "a: &a {b: c}\nd: *a\ne: {<<: *a}\n"}, false},
	} {
		inside := map[string][]byte{"x/Chart.yaml": []byte(definition)}
		for name, text := range c.files {
			inside["x/"+name] = []byte(text)
		}
		var files []pack.File
		for name, text := range inside {
			files = append(files, pack.File{Path: strings.TrimPrefix(name, "x/"), Open: func() (int64, io.ReadCloser, error) {
				return int64(len(text)), io.NopCloser(bytes.NewReader(text)), nil
			}})
		}
		for how, read := range map[string]func() (*Chart, error){
			"in a folder":  func() (*Chart, error) { return NewTree(files, maxExpanded, maxExpanded).Chart(t.Context(), ".") },
			"in a package": func() (*Chart, error) { return Open(packed(t, inside, 0)) },
		} {
			_, err := read()
			if errors.Is(err, pack.ErrLimit) != c.limit || err != nil && !c.limit {
				t.Errorf("%s, %s: error %v", c.why, how, err)
			}
		}
	}
}

// A package may call its files otherwise than Helm does.
func TestNamesAsHelmHasThem(t *testing.T) {
	bomb := []byte("a: &a \"" + strings.Repeat("x", 40<<10) + "\"\nb: [" + strings.Repeat("*a,", 500) + "]\n")
	inner := packed(t, map[string][]byte{"a/Chart.yaml": []byte("apiVersion: v2\nname: a\nversion: 1.0.0\n"), "a/values.yaml": bomb}, 0)
	for _, name := range []string{"x/./values.yaml", "x/a/../values.yaml", `x\values.yaml`, `y/x\values.yaml`, "/values.yaml"} {
		if _, err := Open(packed(t, map[string][]byte{name: bomb}, 0)); !errors.Is(err, pack.ErrLimit) {
			t.Errorf("%q: error %v", name, err)
		}
	}
	for _, name := range []string{"x/./charts/a.tgz", `x\charts\a.tgz`} {
		if _, err := Open(packed(t, map[string][]byte{name: inner}, 0)); !errors.Is(err, pack.ErrLimit) {
			t.Errorf("%q: error %v", name, err)
		}
	}
}
