package workspace

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// ErrUnsafe says that an archive is not one to unpack: trying again cannot help.
var ErrUnsafe = errors.New("the artifact is refused")

// Limits bound one artifact. Zero values mean the defaults.
type Limits struct {
	// Bytes is the expanded size; 1 GiB by default.
	Bytes int64
	// Entries is how many files and folders there may be; 100,000 by default.
	Entries int
	// Depth is how deep folders may nest; 64 by default.
	Depth int
}

func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 1 << 30
	}
	if l.Entries <= 0 {
		l.Entries = 100_000
	}
	if l.Depth <= 0 {
		l.Depth = 64
	}
	return l
}

// longestName bounds a path in an artifact.
const longestName = 1024

// unpack writes the archive below root, which is empty, and reads body to its
// end, where its digest is verified.
func unpack(body io.Reader, root *os.Root, limits Limits) (*Tree, error) {
	u := &unpacker{root: root, tree: newTree(root.Name()), limits: limits}
	zipped, err := gzip.NewReader(body)
	if err != nil {
		return nil, u.after(body, fmt.Errorf("%w: not gzip: %w", ErrUnsafe, err))
	}
	if err := u.all(tar.NewReader(zipped)); err != nil {
		return nil, u.after(body, err)
	}
	// What follows the archive counts towards the digest; it is not expanded
	// without bound.
	if _, err := io.Copy(io.Discard, body); err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	u.tree.sort()
	return u.tree, nil
}

type unpacker struct {
	root    *os.Root
	tree    *Tree
	limits  Limits
	entries int
}

// after prefers the error of a body that is corrupt over what its bytes led to.
func (u *unpacker) after(body io.Reader, err error) error {
	if _, bodyErr := io.Copy(io.Discard, body); bodyErr != nil {
		return fmt.Errorf("read artifact: %w", bodyErr)
	}
	return err
}

func (u *unpacker) all(archive *tar.Reader) error {
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: not a tar archive: %w", ErrUnsafe, err)
		}
		if u.entries++; u.entries > u.limits.Entries {
			return fmt.Errorf("%w: it has more than %d entries", ErrUnsafe, u.limits.Entries)
		}
		if err := u.one(header, archive); err != nil {
			return err
		}
	}
}

func (u *unpacker) one(header *tar.Header, content io.Reader) error {
	name, err := u.name(header.Name)
	if err != nil || name == "." {
		return err
	}
	switch header.Typeflag {
	case tar.TypeDir:
		if err := u.folder(name); err != nil {
			return err
		}
		u.tree.addFolder(name)
		return nil
	case tar.TypeReg:
		return u.file(name, content)
	}
	return nil // links and devices have no place in an artifact
}

// name checks where an entry goes.
func (u *unpacker) name(raw string) (string, error) {
	name := path.Clean(raw)
	switch {
	case path.IsAbs(raw), name == "..", strings.HasPrefix(name, "../"), strings.ContainsRune(name, 0):
		return "", fmt.Errorf("%w: entry %q leaves it", ErrUnsafe, raw)
	case len(name) > longestName, strings.Count(name, "/") >= u.limits.Depth:
		return "", fmt.Errorf("%w: entry %.60q… is nested too deep", ErrUnsafe, raw)
	}
	return name, nil
}

func (u *unpacker) folder(name string) error {
	if err := u.root.MkdirAll(name, 0o755); err != nil {
		return u.writeError(err)
	}
	return nil
}

func (u *unpacker) file(name string, content io.Reader) error {
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	file, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return u.writeError(err)
	}
	digest := sha256.New()
	left := u.limits.Bytes - u.tree.Bytes
	n, err := io.Copy(io.MultiWriter(file, digest), io.LimitReader(content, left+1))
	u.tree.Bytes += n
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if n > left {
		return fmt.Errorf("%w: it expands to more than %d bytes", ErrUnsafe, u.limits.Bytes)
	}
	if err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	u.tree.addFile(name, "sha256:"+hex.EncodeToString(digest.Sum(nil)))
	return nil
}

// writeError tells an archive that contradicts itself, such as a file used as a
// folder, from a disk that fails.
func (u *unpacker) writeError(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = fmt.Errorf("%s: %w", p.Path, p.Err)
	}
	if isConflict(err) {
		return fmt.Errorf("%w: two entries are in each other's way: %w", ErrUnsafe, err)
	}
	return fmt.Errorf("unpack: %w", err)
}
