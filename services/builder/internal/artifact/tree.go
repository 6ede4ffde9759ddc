// Package artifact is an unpacked artifact on disk: the contents of all its files
// in one file, and an index of them in another. Files by the thousand would cost
// more to create than all builds cost to read what they need, and a path that is
// looked up in an index leads nowhere else.
package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// The two files of an unpacked artifact.
const (
	dataName  = "data"
	indexName = "index.json"
)

// File is where a file's content is.
type File struct {
	Offset int64 `json:"o"`
	Size   int64 `json:"s"`
	// Digest is sha256:<hex> of the content.
	Digest string `json:"d"`
}

// Tree is an artifact's files and folders. It is read-only and safe for concurrent
// use. Paths are clean, relative to the artifact's root, and "." is the root.
type Tree struct {
	// Dir is the folder on disk.
	Dir string
	// Bytes is the size of all files.
	Bytes int64

	files   map[string]File
	folders map[string][]string
	data    *os.File
}

// index is a Tree as it is stored.
type index struct {
	Files   map[string]File `json:"files"`
	Folders []string        `json:"folders"`
}

func newTree(dir string) *Tree {
	return &Tree{Dir: dir, files: map[string]File{}, folders: map[string][]string{".": nil}}
}

// Open opens an artifact that a Writer finished.
func Open(dir string) (*Tree, error) {
	body, err := os.ReadFile(filepath.Join(dir, indexName))
	if err != nil {
		return nil, fmt.Errorf("open artifact: %w", err)
	}
	var i index
	if err := json.Unmarshal(body, &i); err != nil {
		return nil, fmt.Errorf("open artifact: %w", err)
	}
	t := newTree(dir)
	if t.data, err = os.Open(filepath.Join(dir, dataName)); err != nil {
		return nil, fmt.Errorf("open artifact: %w", err)
	}
	for _, folder := range i.Folders {
		t.addFolder(folder)
	}
	for name, file := range i.Files {
		t.addFile(name, file)
	}
	t.sort()
	return t, nil
}

// Close releases the contents.
func (t *Tree) Close() error {
	if t.data == nil {
		return nil
	}
	return t.data.Close()
}

// File describes the file at a path.
func (t *Tree) File(name string) (file File, ok bool) {
	file, ok = t.files[name]
	return file, ok
}

// Folder returns the sorted names in the folder at a path.
func (t *Tree) Folder(name string) (names []string, ok bool) {
	names, ok = t.folders[name]
	return names, ok
}

// errClosed says that a Tree has no contents, only their index.
var errClosed = errors.New("the artifact's contents are not open")

// Read returns the content of the file at a path.
func (t *Tree) Read(name string) ([]byte, error) {
	file, ok := t.files[name]
	if !ok {
		return nil, &os.PathError{Op: "read", Path: name, Err: os.ErrNotExist}
	}
	if t.data == nil {
		return nil, &os.PathError{Op: "read", Path: name, Err: errClosed}
	}
	body := make([]byte, file.Size)
	if _, err := t.data.ReadAt(body, file.Offset); err != nil {
		return nil, &os.PathError{Op: "read", Path: name, Err: err}
	}
	return body, nil
}

func (t *Tree) addFile(name string, file File) {
	if _, ok := t.files[name]; !ok {
		t.addFolder(path.Dir(name))
		t.enter(name)
	}
	t.files[name] = file
}

func (t *Tree) addFolder(name string) {
	if _, ok := t.folders[name]; ok {
		return
	}
	t.folders[name] = nil
	t.addFolder(path.Dir(name))
	t.enter(name)
}

func (t *Tree) enter(name string) {
	parent := path.Dir(name)
	t.folders[parent] = append(t.folders[parent], path.Base(name))
}

func (t *Tree) sort() {
	for _, names := range t.folders {
		slices.Sort(names)
	}
}
