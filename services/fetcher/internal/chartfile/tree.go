package chartfile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/ignore"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// Tree is the files of a source, in which charts are folders or packages.
type Tree struct {
	files []pack.File
	// MaxChart and MaxFile bound a package and one file, in bytes.
	MaxChart, MaxFile int64
}

// NewTree returns a tree of files.
func NewTree(files []pack.File, maxChart, maxFile int64) *Tree {
	return &Tree{files: files, MaxChart: maxChart, MaxFile: maxFile}
}

// Package returns the content of a file that is a chart's package, nil when the path
// is a folder.
func (t *Tree) Package(name string) ([]byte, error) {
	f := t.find(name)
	if f == nil || f.Dir {
		return nil, nil
	}
	return t.read(*f, t.MaxChart)
}

// maxRules bounds the lines of a .helmignore: each file is compared with each.
const maxRules = 10_000

// Chart reads the chart in a folder, but for the files that its .helmignore names, or
// a package.
func (t *Tree) Chart(ctx context.Context, name string) (*Chart, error) {
	archive, err := t.Package(name)
	if err != nil {
		return nil, err
	}
	if archive != nil {
		return Open(archive)
	}
	below := t.below(name)
	if len(below) == 0 {
		return nil, fmt.Errorf("no chart at path '%s': %w", name, fs.ErrNotExist)
	}
	rules, err := t.rules(below)
	if err != nil {
		return nil, err
	}
	var files []*loader.BufferedFile
	left := newRoom()
	for _, f := range below {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if f.Dir || ignored(rules, f.Path) {
			continue
		}
		data, err := t.read(f, t.MaxFile)
		if err != nil {
			return nil, err
		}
		if err := left.add(f.Path, data); err != nil {
			return nil, fmt.Errorf("load chart: %w", err)
		}
		files = append(files, &loader.BufferedFile{Name: f.Path, Data: data})
	}
	return load(files, left)
}

// File returns the content of a file, fs.ErrNotExist when there is none.
func (t *Tree) File(name string) ([]byte, error) {
	f := t.find(name)
	if f == nil || f.Dir {
		return nil, fs.ErrNotExist
	}
	return t.read(*f, t.MaxFile)
}

func (t *Tree) find(name string) *pack.File {
	n := slices.IndexFunc(t.files, func(f pack.File) bool { return f.Path == name })
	if n < 0 {
		return nil
	}
	return &t.files[n]
}

// below returns the files of a folder, with names relative to it.
func (t *Tree) below(name string) []pack.File {
	if name == "." {
		return t.files
	}
	var found []pack.File
	for _, f := range t.files {
		if rest, ok := strings.CutPrefix(f.Path, name+"/"); ok {
			f.Path = rest
			found = append(found, f)
		}
	}
	return found
}

func (t *Tree) read(f pack.File, limit int64) ([]byte, error) {
	size, content, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer content.Close()
	if size > limit {
		return nil, fmt.Errorf("'%s' has %d bytes, more than the %d that are allowed: %w", f.Path, size, limit, pack.ErrLimit)
	}
	data, err := io.ReadAll(content)
	if err != nil {
		return nil, fmt.Errorf("read '%s': %w", f.Path, err)
	}
	return data, nil
}

func (t *Tree) rules(files []pack.File) (*ignore.Rules, error) {
	rules := ignore.Empty()
	if n := slices.IndexFunc(files, func(f pack.File) bool { return f.Path == ignore.HelmIgnore && !f.Dir }); n >= 0 {
		text, err := t.read(files[n], t.MaxFile)
		if err != nil {
			return nil, err
		}
		if bytes.Count(text, []byte("\n")) > maxRules {
			return nil, fmt.Errorf("%s has more than %d lines: %w", ignore.HelmIgnore, maxRules, pack.ErrLimit)
		}
		if rules, err = ignore.Parse(bytes.NewReader(text)); err != nil {
			return nil, fmt.Errorf("read %s: %w", ignore.HelmIgnore, err)
		}
	}
	rules.AddDefaults()
	return rules, nil
}

// ignored says that a file, or a folder that leads to it, is left out.
func ignored(rules *ignore.Rules, name string) bool {
	for n := range len(name) {
		if name[n] == '/' && rules.Ignore(name[:n], entry{name: path.Base(name[:n]), dir: true}) {
			return true
		}
	}
	return rules.Ignore(name, entry{name: path.Base(name)})
}

// entry is as much of a file as the rules look at.
type entry struct {
	name string
	dir  bool
}

func (e entry) Name() string       { return e.name }
func (e entry) Size() int64        { return 0 }
func (e entry) ModTime() time.Time { return time.Time{} }
func (e entry) IsDir() bool        { return e.dir }
func (e entry) Sys() any           { return nil }
func (e entry) Mode() os.FileMode {
	if e.dir {
		return os.ModeDir
	}
	return 0
}
