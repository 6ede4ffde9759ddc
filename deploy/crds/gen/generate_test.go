package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCommittedDefinitionsAreCurrent(t *testing.T) {
	fresh := t.TempDir()
	if err := generate(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	want, got := read(t, fresh), read(t, "..")
	if len(want) != 11 {
		t.Errorf("generated %d definitions, want the 11 kinds that are served", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deploy/crds is not what deploy/crds/generate.sh writes (-generated +committed):\n%s", diff)
	}
}

func read(t *testing.T, folder string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.toolkit.fluxcd.io_*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		contents[filepath.Base(file)] = string(content)
	}
	return contents
}
