package compose

import (
	"context"
	"fmt"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// The ways to copy.
const (
	Overwrite = "Overwrite"
	// Merge merges YAML files as Helm merges values: maps key by key, all else is replaced.
	Merge = "Merge"
	// Extract copies what archives hold, .tar.gz or .tgz.
	Extract = "Extract"
)

// Copy is one operation.
type Copy struct {
	// From is a path or a pattern below the root of the source: * stands for characters of a
	// name, ** for folders.
	From string
	// To is a path below the root of the artifact. One that ends in a slash is a folder, and
	// so is that of a pattern.
	To string
	// Exclude are patterns of what is left out, folders with all that they hold. They are
	// matched against the path from the source's root, and from what precedes From's first
	// wildcard; one without a slash against every name.
	Exclude []string
	// Strategy is Overwrite when empty.
	Strategy string
}

// Tree is the files of an artifact while it is made. Close it when they were read.
type Tree struct {
	// Files in lexical order, folders before what they hold.
	Files []pack.File

	limits pack.Limits
	// extracted has each archive as often as it was extracted.
	extracted *pack.Trees
	times     int
	// kept is the bytes that merging made.
	kept int
}

// New returns a tree without files, which never has more of them than the limits say. What is
// extracted is kept in the folder scratch, all of it within the limits.
func New(scratch string, limits pack.Limits) *Tree {
	return &Tree{limits: limits, extracted: pack.NewTrees(scratch, limits)}
}

// Close forgets what was extracted.
func (t *Tree) Close() error { return t.extracted.Close() }

// Add carries out an operation on the files of a source. What it brings takes the place of
// what is there.
func (t *Tree) Add(ctx context.Context, source []pack.File, c Copy) error {
	chosen, err := t.choose(ctx, source, c)
	if err != nil {
		return err
	}
	switch c.Strategy {
	case "", Overwrite:
		return t.graft(chosen)
	case Merge:
		return t.merge(ctx, chosen)
	case Extract:
		return t.extract(ctx, chosen, c)
	}
	return fmt.Errorf("strategy %q is not known: use %s, %s or %s", c.Strategy, Overwrite, Merge, Extract)
}

func (t *Tree) graft(chosen []choice) (err error) {
	files := make([]pack.File, len(chosen))
	for i, c := range chosen {
		files[i] = c.file
		files[i].Path = c.to
	}
	t.Files, err = pack.Graft(t.Files, ".", files, ".")
	if err == nil && len(t.Files) > t.limits.Entries {
		err = fmt.Errorf("the artifact has more than %d files and folders: %w", t.limits.Entries, pack.ErrLimit)
	}
	return err
}

// find returns what is at a path.
func (t *Tree) find(name string) (pack.File, bool) {
	for _, f := range t.Files {
		if f.Path == name {
			return f, true
		}
	}
	return pack.File{}, false
}
