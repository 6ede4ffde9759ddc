package kustomize

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// top is where kustomize sees the artifact's root. It is not "/", because then
// a path with too many ".." would end inside the artifact instead of outside.
const top = "/artifact"

var errReadOnly = errors.New("the artifact is read-only")

// files is kustomize's view of an artifact.
type files struct {
	root *os.Root
	// overlay holds generated files by their path in the artifact.
	overlay map[string][]byte
	reads   *recorder
	// refused is the first thing that is not allowed; kustomize hides some errors.
	refused error
	// ownSchema says that a kustomization brought an OpenAPI schema.
	ownSchema bool
	// keepOrigin says that the user wants kustomize's origin annotations.
	keepOrigin bool
	// main is the kustomization file of the folder that is built, if it has one.
	main string
}

func newFiles(root *os.Root) *files {
	return &files{root: root, overlay: map[string][]byte{}, reads: newRecorder()}
}

// inside turns a path of kustomize's into one of the artifact.
func (f *files) inside(name string) (string, error) {
	clean := path.Clean(name)
	if clean == top {
		return ".", nil
	}
	if rel, ok := strings.CutPrefix(clean, top+"/"); ok {
		return rel, nil
	}
	return "", f.refuse(fmt.Errorf("path %q leaves the artifact", name))
}

func (f *files) refuse(err error) error {
	if f.refused == nil {
		f.refused = err
	}
	return err
}

// stat says what is at a path of the artifact. Links count as absent: artifacts
// carry none.
func (f *files) stat(rel string) (fs.FileInfo, error) {
	info, err := f.root.Lstat(rel)
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "stat", Path: rel, Err: fs.ErrNotExist}
	}
	if err != nil {
		f.reads.absent(rel)
		return nil, plainError(rel, err)
	}
	f.reads.seen(rel, info.IsDir())
	return info, nil
}

// ReadFile reads a file of the artifact, after checking what a kustomization
// refers to.
func (f *files) ReadFile(name string) ([]byte, error) {
	rel, err := f.inside(name)
	if err != nil {
		return nil, err
	}
	if body, ok := f.overlay[rel]; ok {
		return body, nil
	}
	body, err := f.read(rel)
	if err != nil {
		return nil, err
	}
	if isKustomizationFile(rel) {
		if err := f.inspect(rel, body); err != nil {
			return nil, f.refuse(err)
		}
	}
	return body, nil
}

func (f *files) read(rel string) ([]byte, error) {
	info, err := f.stat(rel)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("read %s: is a directory", rel)
	}
	body, err := f.root.ReadFile(rel)
	if err != nil {
		return nil, plainError(rel, err)
	}
	f.reads.file(rel, body)
	return body, nil
}

// IsDir implements filesys.FileSystem.
func (f *files) IsDir(name string) bool {
	rel, err := f.inside(name)
	if err != nil {
		return false
	}
	info, err := f.stat(rel)
	return err == nil && info.IsDir()
}

// Exists implements filesys.FileSystem.
func (f *files) Exists(name string) bool {
	rel, err := f.inside(name)
	if err != nil {
		return false
	}
	if _, ok := f.overlay[rel]; ok {
		return true
	}
	_, err = f.stat(rel)
	return err == nil
}

// ReadDir implements filesys.FileSystem.
func (f *files) ReadDir(name string) ([]string, error) {
	rel, err := f.inside(name)
	if err != nil {
		return nil, err
	}
	entries, err := f.list(rel)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// list returns the files and folders of a folder, in order of their names.
func (f *files) list(rel string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(f.root.FS(), rel)
	if err != nil {
		f.reads.absent(rel)
		return nil, plainError(rel, err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return !e.IsDir() && !e.Type().IsRegular()
	})
	f.reads.listing(rel, entries)
	return entries, nil
}

// CleanedAbs implements filesys.FileSystem.
func (f *files) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	rel, err := f.inside(name)
	if err != nil {
		return "", "", err
	}
	info, err := f.stat(rel)
	if err != nil {
		return "", "", err
	}
	full := path.Join(top, rel)
	if info.IsDir() {
		return filesys.ConfirmedDir(full), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(full)), path.Base(full), nil
}

// Open implements filesys.FileSystem.
func (f *files) Open(name string) (filesys.File, error) {
	body, err := f.ReadFile(name)
	if err != nil {
		return nil, err
	}
	info, err := f.root.Stat(strings.TrimPrefix(path.Clean(name), top+"/"))
	if err != nil {
		return nil, plainError(name, err)
	}
	return &file{Reader: bytes.NewReader(body), info: info}, nil
}

// Walk implements filesys.FileSystem.
func (f *files) Walk(name string, visit filepath.WalkFunc) error {
	rel, err := f.inside(name)
	if err != nil {
		return err
	}
	info, err := f.stat(rel)
	if err == nil {
		err = visit(name, info, nil)
	}
	if errors.Is(err, filepath.SkipDir) {
		return nil
	}
	if err != nil || !info.IsDir() {
		return err
	}
	entries, err := f.list(rel)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := f.Walk(path.Join(name, e.Name()), visit); err != nil {
			return err
		}
	}
	return nil
}

// Glob implements filesys.FileSystem.
func (f *files) Glob(pattern string) ([]string, error) {
	folder := path.Dir(pattern)
	names, err := f.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for _, name := range names {
		ok, err := path.Match(path.Base(pattern), name)
		if err != nil {
			return nil, fmt.Errorf("match %q: %w", pattern, err)
		}
		if ok {
			found = append(found, path.Join(folder, name))
		}
	}
	return found, nil
}

// Create implements filesys.FileSystem; it always fails.
func (f *files) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir implements filesys.FileSystem; it always fails.
func (f *files) Mkdir(string) error { return errReadOnly }

// MkdirAll implements filesys.FileSystem; it always fails.
func (f *files) MkdirAll(string) error { return errReadOnly }

// RemoveAll implements filesys.FileSystem; it always fails.
func (f *files) RemoveAll(string) error { return errReadOnly }

// WriteFile implements filesys.FileSystem; it always fails.
func (f *files) WriteFile(string, []byte) error { return errReadOnly }

// file is an open file of the artifact.
type file struct {
	*bytes.Reader
	info fs.FileInfo
}

// Close ends the reading; there is nothing to release.
func (*file) Close() error { return nil }

// Write always fails.
func (*file) Write([]byte) (int, error) { return 0, errReadOnly }

// Stat describes the file.
func (f *file) Stat() (os.FileInfo, error) { return f.info, nil }

// plainError says what is wrong with a path without the system call's name.
func plainError(rel string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &fs.PathError{Op: "read", Path: rel, Err: err}
}

func isKustomizationFile(name string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(name))
}
