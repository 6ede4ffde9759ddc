package kustomize

import (
	"maps"
	"slices"

	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
)

// Read is one thing that a build looked at. A build of another artifact in which
// every Read is the same gives the same output.
type Read struct {
	// Path in the artifact; "." is its root.
	Path string `json:"p"`
	// Absent: there is nothing at the path.
	Absent bool `json:"a,omitempty"`
	// Dir: the path is a folder. Neither Absent nor Dir means a file.
	Dir bool `json:"d,omitempty"`
	// Names are the entries of a folder, sorted, if it was listed.
	Names []string `json:"n,omitempty"`
	// Listed says that the folder was listed, even if it is empty.
	Listed bool `json:"l,omitempty"`
	// Digest is sha256:<hex> of a file that was read, empty if it was only seen.
	Digest string `json:"h,omitempty"`
}

// Same says that another artifact has at the path what was read there.
func (r Read) Same(tree *artifact.Tree) bool {
	file, isFile := tree.File(r.Path)
	names, isFolder := tree.Folder(r.Path)
	switch {
	case r.Absent:
		return !isFile && !isFolder
	case r.Dir:
		return isFolder && (!r.Listed || slices.Equal(r.Names, names))
	}
	return isFile && (r.Digest == "" || r.Digest == file.Digest)
}

type recorder struct {
	byPath map[string]*Read
	// order is the paths of the files that were read, for messages.
	order []string
}

func newRecorder() *recorder { return &recorder{byPath: map[string]*Read{}} }

func (r *recorder) at(rel string) *Read {
	e, ok := r.byPath[rel]
	if !ok {
		e = &Read{Path: rel}
		r.byPath[rel] = e
	}
	return e
}

func (r *recorder) absent(rel string)         { r.at(rel).Absent = true }
func (r *recorder) seen(rel string, dir bool) { r.at(rel).Dir = dir }

func (r *recorder) file(rel string, tree *artifact.Tree) {
	file, _ := tree.File(rel)
	r.at(rel).Digest = file.Digest
	r.order = append(r.order, rel)
}

func (r *recorder) listing(rel string, names []string) {
	e := r.at(rel)
	e.Dir, e.Listed, e.Names = true, true, names
}

func (r *recorder) all() []Read {
	reads := make([]Read, 0, len(r.byPath))
	for _, p := range slices.Sorted(maps.Keys(r.byPath)) {
		reads = append(reads, *r.byPath[p])
	}
	return reads
}
