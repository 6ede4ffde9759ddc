package guard_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/test/harness"
)

const home = "github.com/sluice-gitops/sluice/"

// repository is the source that git knows of or would add.
type repository struct {
	root  string
	files []string // slash-separated, relative to root
	set   *token.FileSet
}

func open(t *testing.T) *repository {
	t.Helper()
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	list, err := cmd.Output()
	if err != nil {
		t.Fatalf("list files: %v", err)
	}
	r := &repository{root: root, set: token.NewFileSet()}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.Mode().IsRegular() {
			r.files = append(r.files, name)
		}
	}
	if len(r.files) < 50 {
		t.Fatalf("only %d files found in %s", len(r.files), root)
	}
	return r
}

func (r *repository) read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(r.root, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// source is one parsed Go file.
type source struct {
	name string // relative to the root
	pkg  string // folder of the package, relative to the root
	test bool
	*ast.File
}

func (r *repository) goFiles(t *testing.T) []source {
	t.Helper()
	var files []source
	for _, name := range r.files {
		if path.Ext(name) != ".go" || strings.Contains("/"+name, "/testdata/") {
			continue
		}
		file, err := parser.ParseFile(r.set, name, r.read(t, name), parser.ParseComments)
		if err != nil {
			t.Errorf("parse %s: %v", name, err)
			continue
		}
		files = append(files, source{name: name, pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), File: file})
	}
	return files
}

func (s source) imports() []string {
	var paths []string
	for _, spec := range s.Imports {
		paths = append(paths, strings.Trim(spec.Path.Value, `"`))
	}
	return paths
}

func isText(content []byte) bool {
	return !bytes.Contains(content[:min(len(content), 8000)], []byte{0})
}
