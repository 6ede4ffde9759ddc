package artifact_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
)

func TestWriteAndOpen(t *testing.T) {
	dir := t.TempDir()
	w, err := artifact.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, add := range [][2]string{{"b/c/d.yaml", "one"}, {"a.yaml", ""}, {"b/c/d.yaml", "two, the later one"}} {
		if err := w.AddFile(add[0], strings.NewReader(add[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.AddFolder("empty"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	tree, err := artifact.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	folders := map[string][]string{}
	for _, name := range []string{".", "b", "b/c", "empty"} {
		names, ok := tree.Folder(name)
		if !ok {
			t.Errorf("folder %s is missing", name)
		}
		folders[name] = names
	}
	want := map[string][]string{".": {"a.yaml", "b", "empty"}, "b": {"c"}, "b/c": {"d.yaml"}, "empty": nil}
	if diff := cmp.Diff(want, folders); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{"b/c/d.yaml": "two, the later one", "a.yaml": ""} {
		body, err := tree.Read(name)
		if err != nil || string(body) != want {
			t.Errorf("%s: got %q, %v", name, body, err)
		}
	}
	for _, name := range []string{"b", "gone", "../b/c/d.yaml", "/a.yaml", ""} {
		if _, err := tree.Read(name); err == nil {
			t.Errorf("%q can be read", name)
		}
	}
}

func TestOnePathIsOneThing(t *testing.T) {
	w, err := artifact.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.AddFile("a/b", strings.NewReader("x")), w.AddFolder("c")); err != nil {
		t.Fatal(err)
	}
	for reason, err := range map[string]error{
		"a file below a file":       w.AddFile("a/b/c", strings.NewReader("x")),
		"a folder below a file":     w.AddFolder("a/b/c/d"),
		"a folder where a file is":  w.AddFolder("a/b"),
		"a file where a folder is":  w.AddFile("a", strings.NewReader("x")),
		"a file at an empty folder": w.AddFile("c", strings.NewReader("x")),
	} {
		if !errors.Is(err, artifact.ErrConflict) {
			t.Errorf("%s: got %v", reason, err)
		}
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
}
