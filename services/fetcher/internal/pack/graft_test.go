package pack_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

func TestGraft(t *testing.T) {
	for reason, c := range map[string]struct {
		tree, branch map[string]string
		from, to     string
		want         []string
	}{
		"a folder into a new one":     {map[string]string{"a": "1"}, map[string]string{"x/b": "2", "c": "3"}, "x", "new/deep", []string{"a", "new", "new/deep", "new/deep/b"}},
		"all of it":                   {map[string]string{"a": "1"}, map[string]string{".b/c": "2"}, ".", "z", []string{"a", "z", "z/.b", "z/.b/c"}},
		"into the root":               {map[string]string{"b": "1"}, map[string]string{"a": "2"}, ".", ".", []string{"a", "b"}},
		"one file gets the name":      {map[string]string{"b": "1"}, map[string]string{"x/y": "2"}, "x/y", "q", []string{"b", "q"}},
		"folders are merged":          {map[string]string{"d/a": "1"}, map[string]string{"b": "2"}, ".", "d", []string{"d", "d/a", "d/b"}},
		"order is that of elements":   {map[string]string{"a-b": "1"}, map[string]string{"c": "2"}, ".", "a", []string{"a", "a/c", "a-b"}},
		"names that only begin alike": {nil, map[string]string{"xy/a": "1", "x/b": "2"}, "x", "z", []string{"z", "z/b"}},
		"nothing is there":            {nil, map[string]string{"a": "1"}, "none", "z", nil},
		"a file leads to it":          {map[string]string{"a": "1"}, map[string]string{"b": "1"}, ".", "a/b", nil},
		"a file where a folder comes": {map[string]string{"d": "1"}, map[string]string{"d/a": "1"}, ".", ".", nil},
		"a folder where a file comes": {map[string]string{"d/a": "1"}, map[string]string{"d": "1"}, ".", ".", nil},
		"a file as the root":          {nil, map[string]string{"a": "1"}, "a", ".", nil},
	} {
		files, err := pack.Graft(tree(c.tree), c.to, tree(c.branch), c.from)
		if (err != nil) != (c.want == nil) {
			t.Errorf("%s: error %v", reason, err)
		}
		var got []string
		for _, f := range files {
			got = append(got, f.Path)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", reason, diff)
		}
	}
}

func TestWithin(t *testing.T) {
	for name, want := range map[string]string{
		"": ".", "./": ".", "/": ".", "./a/b/": "a/b", "/a": "a", "a/../b": "b", "../a": "", "a/../../b": "", "/../a": "", `a\..\..\b`: "",
	} {
		got, err := pack.Within(name)
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, pack.ErrEscape) {
			t.Errorf("%q: got %q, %v", name, got, err)
		}
	}
}

func TestUnpackReturnsWhatWasPacked(t *testing.T) {
	body, _ := archive(t, tree(map[string]string{"a/b.yaml": "1", "a/run.sh!": "22", ".hidden": ""}), nil)
	u, err := pack.Unpack(t.Context(), bytes.NewReader(body), t.TempDir(), limits())
	if err != nil {
		t.Fatal(err)
	}
	again, _ := archive(t, u.Files, nil)
	if !bytes.Equal(body, again) {
		t.Error("packing it again gives another archive")
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
	for reason, bounds := range map[string]pack.Limits{"too many entries": {Entries: 3, Bytes: 100}, "too many bytes": {Entries: 100, Bytes: 2}} {
		if _, err := pack.Unpack(t.Context(), bytes.NewReader(body), t.TempDir(), bounds); !errors.Is(err, pack.ErrLimit) {
			t.Errorf("%s: %v", reason, err)
		}
	}
	broken := io.MultiReader(bytes.NewReader(body), errorReader{})
	if _, err := pack.Unpack(t.Context(), broken, t.TempDir(), limits()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an archive whose end does not verify: %v", err)
	}
}

// errorReader fails where a verified reader tells that its digest does not fit.
type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
