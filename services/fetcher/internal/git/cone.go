package git

import (
	"io/fs"
	"strings"
	"syscall"
)

// cone is the part of a tree that some folders make up; all of it without any.
type cone struct {
	dirs []string
	// seen are entries of the tree that a folder of the cone names: true for folders.
	seen map[string]bool
}

func newCone(dirs []string) cone { return cone{dirs: dirs, seen: map[string]bool{}} }

// holds says that an entry is in one of the folders, is one, or leads to one.
func (c cone) holds(path string, dir bool) bool {
	if len(c.dirs) == 0 {
		return true
	}
	held := false
	for _, d := range c.dirs {
		switch {
		case d == ".", strings.HasPrefix(path, d+"/"):
			held = true
		case d == path:
			c.seen[d] = dir
			held = held || dir
		case dir && strings.HasPrefix(d, path+"/"):
			held = true
		}
	}
	return held
}

// missing tells of a folder that the tree does not have.
func (c cone) missing() error {
	for _, d := range c.dirs {
		if d == "." {
			continue
		}
		if dir, ok := c.seen[d]; !ok {
			return &fs.PathError{Op: "lstat", Path: d, Err: syscall.ENOENT}
		} else if !dir {
			return &fs.PathError{Op: "lstat", Path: d, Err: syscall.ENOTDIR}
		}
	}
	return nil
}
