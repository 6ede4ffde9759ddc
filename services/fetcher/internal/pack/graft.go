package pack

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// ErrEscape says that a path leads out of a tree.
var ErrEscape = errors.New("path leads out of the tree")

// Within returns a path below a tree's root, relative and clean: "." for the root. A
// leading slash means the root.
func Within(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if !fs.ValidPath(clean) || strings.Contains(clean, `\`) {
		return "", fmt.Errorf("%q: %w", name, ErrEscape)
	}
	return clean, nil
}

// Graft returns tree with what branch holds at from copied to to; both paths are as
// Within returns them. What the branch brings takes the place of what is there, and
// folders are merged. That nothing is at from, or a file leads to to, is an
// *fs.PathError.
func Graft(tree []File, to string, branch []File, from string) ([]File, error) {
	all := make(map[string]File, len(tree)+len(branch))
	for _, f := range tree {
		all[f.Path] = f
	}
	found := from == "."
	if found {
		branch = append([]File{{Path: ".", Dir: true}}, branch...)
	}
	for _, f := range branch {
		rest, ok := Below(f.Path, from)
		if !ok {
			continue
		}
		found = true
		f.Path = path.Join(to, rest)
		if f.Path == "." && !f.Dir {
			return nil, &fs.PathError{Op: "copy", Path: from, Err: errors.New("is a file and cannot be the root")}
		}
		if err := put(all, f); err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, &fs.PathError{Op: "lstat", Path: from, Err: fs.ErrNotExist}
	}
	return sorted(all), nil
}

// Below returns what of a path is below dir, "." for the root: nothing for dir itself.
func Below(name, dir string) (string, bool) {
	switch dir {
	case name:
		return "", true
	case ".":
		return name, true
	}
	return strings.CutPrefix(name, dir+"/")
}

// put adds a file or folder and the folders that lead to it.
func put(all map[string]File, f File) error {
	for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
		if was, ok := all[dir]; ok && !was.Dir {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("is a file")}
		}
		all[dir] = File{Path: dir, Dir: true}
	}
	if f.Path == "." {
		return nil
	}
	if was, ok := all[f.Path]; ok && was.Dir != f.Dir {
		return &fs.PathError{Op: "copy", Path: f.Path, Err: errors.New("a file and a folder have the same name")}
	}
	all[f.Path] = f
	return nil
}

// sorted returns the files in lexical order, folders before what they hold.
func sorted(all map[string]File) []File {
	files := make([]File, 0, len(all))
	for _, f := range all {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b File) int { return comparePaths(a.Path, b.Path) })
	return files
}

// comparePaths compares element by element.
func comparePaths(a, b string) int {
	for {
		x, restA, moreA := strings.Cut(a, "/")
		y, restB, moreB := strings.Cut(b, "/")
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		if !moreA || !moreB {
			return strings.Compare(restA, restB)
		}
		a, b = restA, restB
	}
}
