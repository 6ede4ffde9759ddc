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

// Unpacked is what an archive holds. Its content is in a scratch file until Close.
type Unpacked struct {
	// Files in the order of the archive.
	Files []File

	scratch *os.File
	size    int64
}

// Unpack reads a gzip-compressed tar to its end, into a scratch file in dir. Entries
// that are neither folders nor regular files are left out; a name that leads out of
// the archive is an error.
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
	entries := tar.NewReader(zip)
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
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
	for _, rest := range []io.Reader{zip, archive} {
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
	if !fs.ValidPath(name) {
		return fmt.Errorf("archive holds the forbidden name %q", header.Name)
	}
	f := File{Path: name, Dir: header.Typeflag == tar.TypeDir, Executable: header.Mode&0o111 != 0}
	if !f.Dir && header.Typeflag != tar.TypeReg {
		return nil
	}
	if len(u.Files) >= limits.Entries {
		return fmt.Errorf("more than %d entries: %w", limits.Entries, ErrLimit)
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
