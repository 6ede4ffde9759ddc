package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// Commit is an open commit. Its files can be read until it is closed.
type Commit struct {
	// Hash in hex.
	Hash string
	// Message is the whole commit message.
	Message string
	// When it was committed.
	When time.Time
	// Tag is the tag that the reference named; nil when it named none.
	Tag *Tag

	tree   plumbing.Hash
	store  storer.EncodedObjectStorer
	mirror *mirror

	// client and remote are where the commit came from, submodules the open commits
	// that it holds.
	client     *Client
	remote     Remote
	submodules []*Commit
}

// File is a folder or a regular file of a commit.
type File struct {
	// Path is relative and slash-separated.
	Path string
	// Dir is true for folders, which have no content.
	Dir bool
	// Executable is true for files with Git's mode 755.
	Executable bool
	// Submodule is the hash of the commit that a folder stands for; empty for others.
	Submodule string

	hash  plumbing.Hash
	store storer.EncodedObjectStorer
}

func openCommit(store storer.EncodedObjectStorer, hash plumbing.Hash) (*Commit, error) {
	c, err := object.GetCommit(store, hash)
	if err != nil {
		return nil, fmt.Errorf("%w: read commit %s: %w", errBroken, hash, err)
	}
	if _, err := object.GetTree(store, c.TreeHash); err != nil {
		return nil, fmt.Errorf("%w: read tree of commit %s: %w", errBroken, hash, err)
	}
	return &Commit{
		Hash: hash.String(), Message: c.Message, When: c.Committer.When, tree: c.TreeHash, store: store,
	}, nil
}

// Close releases the mirror, and those of its submodules.
func (c *Commit) Close() {
	for _, sub := range c.submodules {
		sub.Close()
	}
	c.client.release(c.mirror)
}

// Discard gives up the mirror that the commit came from, for a caller that found
// it broken, with those of its submodules. The commit must still be closed.
func (c *Commit) Discard() error {
	errs := []error{c.client.abandon(c.mirror)}
	for _, sub := range c.submodules {
		errs = append(errs, sub.Discard())
	}
	return errors.Join(errs...)
}

// Broken says that an error means a damaged mirror rather than a fault of the
// repository or the caller.
func Broken(err error) bool { return errors.Is(err, errBroken) }

// maxDepth bounds how deep folders may be nested.
const maxDepth = 100

// Files lists the folders and regular files of the commit in lexical order,
// folders before what they hold. A submodule is an empty folder; symbolic
// links are left out. More than limit entries are an error.
//
// With dirs, which are relative and clean, it lists only those folders, what they
// hold and what leads to them; a folder that is not there is an *fs.PathError.
func (c *Commit) Files(ctx context.Context, limit int, dirs ...string) ([]File, error) {
	w := walker{store: c.store, limit: limit, cone: newCone(dirs)}
	if err := w.folder(ctx, c.tree, "", 0); err != nil {
		return nil, err
	}
	return w.files, w.cone.missing()
}

type walker struct {
	store storer.EncodedObjectStorer
	limit int
	cone  cone
	files []File
}

func (w *walker) folder(ctx context.Context, hash plumbing.Hash, prefix string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("folders are nested deeper than %d: %w", maxDepth, ErrLimit)
	}
	tree, err := object.GetTree(w.store, hash)
	if err != nil {
		return fmt.Errorf("%w: read folder %q: %w", errBroken, prefix, err)
	}
	entries := slices.Clone(tree.Entries)
	slices.SortFunc(entries, func(a, b object.TreeEntry) int { return strings.Compare(a.Name, b.Name) })
	for _, entry := range entries {
		if err := w.entry(ctx, entry, prefix, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(ctx context.Context, entry object.TreeEntry, prefix string, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !validName(entry.Name) {
		return fmt.Errorf("folder %q holds the forbidden name %q", prefix, entry.Name)
	}
	if !w.cone.holds(prefix+entry.Name, entry.Mode == filemode.Dir || entry.Mode == filemode.Submodule) {
		return nil
	}
	if len(w.files) >= w.limit {
		return fmt.Errorf("repository has more than %d files and folders: %w", w.limit, ErrLimit)
	}
	f := File{Path: prefix + entry.Name, hash: entry.Hash, store: w.store}
	switch entry.Mode {
	case filemode.Dir:
		f.Dir = true
		w.files = append(w.files, f)
		return w.folder(ctx, entry.Hash, f.Path+"/", depth+1)
	case filemode.Submodule:
		f.Dir, f.Submodule = true, entry.Hash.String()
	case filemode.Executable:
		f.Executable = true
	case filemode.Regular, filemode.Deprecated:
	default:
		return nil
	}
	w.files = append(w.files, f)
	return nil
}

// validName refuses names that lead out of their folder or into Git's own, as
// Git does on checkout.
func validName(name string) bool {
	switch {
	case name == "", name == ".", name == "..", strings.EqualFold(name, ".git"):
		return false
	}
	return !strings.ContainsAny(name, "/\x00")
}

// Open returns the size and the content of a file.
func (f File) Open() (int64, io.ReadCloser, error) {
	blob, err := object.GetBlob(f.store, f.hash)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: read %q: %w", errBroken, f.Path, err)
	}
	r, err := blob.Reader()
	if err != nil {
		return 0, nil, fmt.Errorf("%w: read %q: %w", errBroken, f.Path, err)
	}
	return blob.Size, r, nil
}
