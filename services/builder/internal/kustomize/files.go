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
	"syscall"
	"time"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
)

// top is where kustomize sees the artifact's root. It is not "/", because then
// a path with too many ".." would end inside the artifact instead of outside.
const top = "/artifact"

var errReadOnly = errors.New("the artifact is read-only")

// files is kustomize's view of an artifact.
type files struct {
	tree *artifact.Tree
	// overlay holds generated files by their path in the artifact.
	overlay map[string][]byte
	reads   *recorder
	// refused is the first thing that is not allowed; kustomize hides some errors.
	refused error
	// ownSchema says that a kustomization brought an OpenAPI schema.
	ownSchema bool
	// keepOrigin says that the user wants kustomize's origin annotations.
	keepOrigin bool
	secrets    secrets
	// main is the kustomization file of the folder that is built, if it has one.
	main string
}

func newFiles(tree *artifact.Tree, d decrypter) *files {
	return &files{
		tree: tree, overlay: map[string][]byte{}, reads: newRecorder(),
		secrets: secrets{decrypter: d, names: map[string]string{}},
	}
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

// isFolder says what is at a path of the artifact.
func (f *files) isFolder(rel string) (bool, error) {
	_, folder := f.tree.Folder(rel)
	_, file := f.tree.File(rel)
	if !folder && !file {
		f.reads.absent(rel)
		return false, &fs.PathError{Op: "read", Path: rel, Err: syscall.ENOENT}
	}
	f.reads.seen(rel, folder)
	return folder, nil
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
	return f.secrets.open(rel, body)
}

func (f *files) read(rel string) ([]byte, error) {
	folder, err := f.isFolder(rel)
	if err != nil {
		return nil, err
	}
	if folder {
		return nil, fmt.Errorf("read %s: is a directory", rel)
	}
	body, err := f.tree.Read(rel)
	if err != nil {
		return nil, err
	}
	f.reads.file(rel, f.tree)
	return body, nil
}

// IsDir implements filesys.FileSystem.
func (f *files) IsDir(name string) bool {
	rel, err := f.inside(name)
	if err != nil {
		return false
	}
	folder, err := f.isFolder(rel)
	return err == nil && folder
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
	_, err = f.isFolder(rel)
	return err == nil
}

// ReadDir implements filesys.FileSystem.
func (f *files) ReadDir(name string) ([]string, error) {
	rel, err := f.inside(name)
	if err != nil {
		return nil, err
	}
	return f.list(rel)
}

// list returns the sorted names in a folder.
func (f *files) list(rel string) ([]string, error) {
	names, ok := f.tree.Folder(rel)
	if !ok {
		f.reads.absent(rel)
		return nil, &fs.PathError{Op: "list", Path: rel, Err: syscall.ENOENT}
	}
	f.reads.listing(rel, names)
	return names, nil
}

// CleanedAbs implements filesys.FileSystem.
func (f *files) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	rel, err := f.inside(name)
	if err != nil {
		return "", "", err
	}
	folder, err := f.isFolder(rel)
	if err != nil {
		return "", "", err
	}
	full := path.Join(top, rel)
	if folder {
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
	return &file{Reader: bytes.NewReader(body), name: path.Base(name), size: int64(len(body))}, nil
}

// Walk implements filesys.FileSystem.
func (f *files) Walk(name string, visit filepath.WalkFunc) error {
	rel, err := f.inside(name)
	if err != nil {
		return err
	}
	folder, err := f.isFolder(rel)
	if err != nil {
		return err
	}
	err = visit(name, &file{name: path.Base(name), folder: folder}, nil)
	if errors.Is(err, filepath.SkipDir) {
		return nil
	}
	if err != nil || !folder {
		return err
	}
	names, err := f.list(rel)
	if err != nil {
		return err
	}
	for _, child := range names {
		if err := f.Walk(path.Join(name, child), visit); err != nil {
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

// file is an open file of the artifact, and what describes one.
type file struct {
	*bytes.Reader
	name   string
	size   int64
	folder bool
}

// Close ends the reading; there is nothing to release.
func (*file) Close() error { return nil }

// Write always fails.
func (*file) Write([]byte) (int, error) { return 0, errReadOnly }

// Stat describes the file.
func (f *file) Stat() (os.FileInfo, error) { return f, nil }

// Name implements fs.FileInfo.
func (f *file) Name() string { return f.name }

// Size implements fs.FileInfo.
func (f *file) Size() int64 { return f.size }

// IsDir implements fs.FileInfo.
func (f *file) IsDir() bool { return f.folder }

// Mode implements fs.FileInfo.
func (f *file) Mode() fs.FileMode {
	if f.folder {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

// ModTime implements fs.FileInfo; artifacts have no times.
func (*file) ModTime() time.Time { return time.Time{} }

// Sys implements fs.FileInfo.
func (*file) Sys() any { return nil }

func isKustomizationFile(name string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(name))
}
