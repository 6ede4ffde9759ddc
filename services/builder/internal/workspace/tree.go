package workspace

import (
	"path"
	"slices"
	"sync"
)

// Tree is an unpacked artifact. It is read-only and safe for concurrent use.
type Tree struct {
	// Dir is the folder on disk that holds the artifact's root.
	Dir string
	// Bytes is the expanded size.
	Bytes int64

	files   map[string]string
	folders map[string][]string
}

func newTree(dir string) *Tree {
	return &Tree{Dir: dir, files: map[string]string{}, folders: map[string][]string{".": nil}}
}

// File returns the digest, sha256:<hex>, of the file at a path of the artifact.
func (t *Tree) File(name string) (digest string, ok bool) {
	digest, ok = t.files[name]
	return digest, ok
}

// Folder returns the sorted names in the folder at a path of the artifact.
func (t *Tree) Folder(name string) (names []string, ok bool) {
	names, ok = t.folders[name]
	return names, ok
}

func (t *Tree) addFile(name, digest string) {
	if _, ok := t.files[name]; !ok {
		t.addFolder(path.Dir(name))
		t.enter(name)
	}
	t.files[name] = digest
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

// Lease holds a Tree in place until it is released.
type Lease struct {
	*Tree
	release func()
}

// Release gives the tree back; further calls do nothing.
func (l *Lease) Release() { l.release() }

func newLease(t *Tree, release func()) *Lease {
	return &Lease{Tree: t, release: sync.OnceFunc(release)}
}
