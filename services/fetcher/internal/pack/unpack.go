package pack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
)

const (
	// maxName and maxDepth bound the path of one entry: a name of a megabyte is a
	// few bytes of a compressed archive, and all names are in memory.
	maxName, maxDepth = 4096, 256
	// overhead is what an entry may cost beside its content: headers, padding and
	// the longest name.
	overhead = maxName + 4096
	// trailer is what ends an archive, as the usual tools pad it.
	trailer = 64 << 10
)

// Unpacked is what an archive holds. Its content is in a scratch file until Close.
type Unpacked struct {
	// Files in the order of the archive.
	Files []File

	scratch *os.File
	size    int64
	// seen counts entries, those too that are left out.
	seen int
}

// Unpack reads a gzip-compressed tar to its end, into a scratch file in dir. Entries
// that are neither folders nor regular files are left out; a name that leads out of
// the archive is an error. What is left out, or follows the last entry, counts for the
// limits too.
func Unpack(ctx context.Context, archive io.Reader, dir string, limits Limits) (_ *Unpacked, err error) {
	scratch, err := os.CreateTemp(dir, "unpack-*")
	if err != nil {
		return nil, fmt.Errorf("make scratch file: %w", err)
	}
	u := &Unpacked{scratch: scratch}
	defer func() {
		if err != nil {
			_ = u.Close() // the first error says why
		}
	}()
	zip, err := gzip.NewReader(archive)
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	expanded := &bounded{ctx: ctx, from: zip, left: limits.Bytes + int64(limits.Entries)*overhead + trailer}
	entries := tar.NewReader(expanded)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read archive: %w", err)
		}
		if err := u.add(header, entries, limits); err != nil {
			return nil, err
		}
	}
	// What verifies the archive does so at its very end.
	for _, rest := range []io.Reader{expanded, archive} {
		if _, err := io.Copy(io.Discard, rest); err != nil {
			return nil, fmt.Errorf("read archive: %w", err)
		}
	}
	return u, nil
}

func (u *Unpacked) add(header *tar.Header, content io.Reader, limits Limits) error {
	name := path.Clean(strings.TrimSuffix(header.Name, "/"))
	if name == "." {
		return nil
	}
	if u.seen++; u.seen > limits.Entries {
		return fmt.Errorf("more than %d entries: %w", limits.Entries, ErrLimit)
	}
	if !fs.ValidPath(name) {
		return fmt.Errorf("archive holds the forbidden name %q", header.Name)
	}
	if len(name) > maxName || strings.Count(name, "/") >= maxDepth {
		return fmt.Errorf("a name has more than %d characters or %d elements: %w", maxName, maxDepth, ErrLimit)
	}
	f := File{Path: name, Dir: header.Typeflag == tar.TypeDir, Executable: header.Mode&0o111 != 0}
	if !f.Dir && header.Typeflag != tar.TypeReg {
		return nil
	}
	if !f.Dir {
		if header.Size > limits.Bytes-u.size {
			return fmt.Errorf("more than %d bytes in all: %w", limits.Bytes, ErrLimit)
		}
		start, size := u.size, header.Size
		if _, err := io.CopyN(u.scratch, content, size); err != nil {
			return fmt.Errorf("unpack %q: %w", name, err)
		}
		u.size += size
		f.Open = func() (int64, io.ReadCloser, error) {
			return size, io.NopCloser(io.NewSectionReader(u.scratch, start, size)), nil
		}
	}
	u.Files = append(u.Files, f)
	return nil
}

// Close forgets the content.
func (u *Unpacked) Close() error {
	return errors.Join(u.scratch.Close(), os.Remove(u.scratch.Name()))
}

// bounded reads no more than it may, and nothing after its context ended.
type bounded struct {
	ctx  context.Context //nolint:containedctx // it lives for one Unpack
	from io.Reader
	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	n, err := b.from.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("the archive expands to more than it may: %w", ErrLimit)
	}
	return n, err
}
