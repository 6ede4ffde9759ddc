package chartfile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
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
		if _, err := NewTree(files, maxExpanded, maxExpanded).Chart("."); errors.Is(err, pack.ErrLimit) != c.limit || err != nil && !c.limit {
			t.Errorf("%s, in a folder: %v", name, err)
		}
		if _, err := Open(packed(t, inside, 0)); errors.Is(err, pack.ErrLimit) != c.limit || err != nil && !c.limit {
			t.Errorf("%s, in a package: %v", name, err)
		}
	}
}
