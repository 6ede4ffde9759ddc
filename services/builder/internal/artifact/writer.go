package artifact

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// ErrConflict says that a path is used as a file and as a folder.
var ErrConflict = errors.New("used as a file and as a folder")

// Writer makes a Tree. It is for one goroutine.
type Writer struct {
	tree *Tree
	file *os.File
	data *bufio.Writer
}

// Create begins an artifact in an empty folder.
func Create(dir string) (*Writer, error) {
	file, err := os.OpenFile(filepath.Join(dir, dataName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create artifact: %w", err)
	}
	return &Writer{tree: newTree(dir), file: file, data: bufio.NewWriterSize(file, 256<<10)}, nil
}

// Bytes is how much was added so far.
func (w *Writer) Bytes() int64 { return w.tree.Bytes }

// AddFolder adds a folder at a clean relative path.
func (w *Writer) AddFolder(name string) error {
	if err := w.free(name); err != nil {
		return err
	}
	w.tree.addFolder(name)
	return nil
}

// AddFile adds a file at a clean relative path; a second one there replaces the
// first.
func (w *Writer) AddFile(name string, content io.Reader) error {
	if err := w.free(path.Dir(name)); err != nil {
		return err
	}
	if _, ok := w.tree.folders[name]; ok {
		return fmt.Errorf("add %s: %w", name, ErrConflict)
	}
	digest := sha256.New()
	n, err := io.Copy(io.MultiWriter(w.data, digest), content)
	file := File{Offset: w.tree.Bytes, Size: n, Digest: "sha256:" + hex.EncodeToString(digest.Sum(nil))}
	w.tree.Bytes += n
	if err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	w.tree.addFile(name, file)
	return nil
}

// free checks that no part of a folder's path is a file.
func (w *Writer) free(folder string) error {
	for at := folder; at != "."; at = path.Dir(at) {
		if _, ok := w.tree.files[at]; ok {
			return fmt.Errorf("add %s: %w", at, ErrConflict)
		}
	}
	return nil
}

// Finish writes the index and returns the Tree, without its contents.
func (w *Writer) Finish() (*Tree, error) {
	if err := errors.Join(w.data.Flush(), w.file.Close()); err != nil {
		return nil, fmt.Errorf("finish artifact: %w", err)
	}
	body, err := json.Marshal(index{Files: w.tree.files, Folders: slices.Sorted(maps.Keys(w.tree.folders))})
	if err == nil {
		err = os.WriteFile(filepath.Join(w.tree.Dir, indexName), body, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("finish artifact: %w", err)
	}
	w.tree.sort()
	return w.tree, nil
}

// Abort ends an artifact that cannot be finished; its folder is the caller's to
// remove.
func (w *Writer) Abort() error { return w.file.Close() }
