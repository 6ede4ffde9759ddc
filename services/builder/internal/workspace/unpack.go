package workspace

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
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

// unpack adds the archive to an artifact, and reads body to its end, where its
// digest is verified.
func unpack(body io.Reader, to *artifact.Writer, limits Limits) error {
	u := &unpacker{to: to, limits: limits}
	zipped, err := gzip.NewReader(body)
	if err != nil {
		return u.after(body, fmt.Errorf("%w: not gzip: %w", ErrUnsafe, err))
	}
	if err := u.all(tar.NewReader(zipped)); err != nil {
		return u.after(body, err)
	}
	// What follows the archive counts towards the digest; it is not expanded
	// without bound.
	if _, err := io.Copy(io.Discard, body); err != nil {
		return fmt.Errorf("read artifact: %w", err)
	}
	return nil
}

type unpacker struct {
	to      *artifact.Writer
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
		return refused(u.to.AddFolder(name))
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

func (u *unpacker) file(name string, content io.Reader) error {
	left := u.limits.Bytes - u.to.Bytes()
	err := u.to.AddFile(name, io.LimitReader(content, left+1))
	if u.to.Bytes() > u.limits.Bytes {
		return fmt.Errorf("%w: it expands to more than %d bytes", ErrUnsafe, u.limits.Bytes)
	}
	return refused(err)
}

// refused tells an archive that contradicts itself from a disk that fails.
func refused(err error) error {
	if errors.Is(err, artifact.ErrConflict) {
		return fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	return err
}
