package pack

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
)

// ErrLimit says that an archive would grow past its bounds.
var ErrLimit = errors.New("limit exceeded")

// File is one entry to archive.
type File struct {
	// Path is relative and slash-separated.
	Path string
	// Dir is true for folders.
	Dir bool
	// Executable files keep that right.
	Executable bool
	// Open returns a file's size and content; it is not called for folders.
	Open func() (int64, io.ReadCloser, error)
}

// Limits bound an archive.
type Limits struct {
	// Entries is the most files and folders together.
	Entries int
	// Bytes is the most content, before compression.
	Bytes int64
}

// Result describes what was written.
type Result struct {
	// Digest of the compressed archive, sha256:<hex>.
	Digest string
	// Size of the compressed archive in bytes.
	Size int64
}

// The modes of entries do not come from the source, so that equal trees give
// equal archives wherever they were made.
const (
	modeDir        = 0o750
	modeFile       = 0o600
	modeExecutable = 0o700
)

// Archive writes files, in the order given, as a gzip-compressed tar. Nothing in
// it depends on time, user or machine. Entries that ignore matches are left out;
// nil leaves out nothing.
func Archive(ctx context.Context, w io.Writer, files []File, ignore *Ignore, limits Limits) (Result, error) {
	out := &counter{to: w, hash: sha256.New()}
	// Fast compression: an artifact is written once a revision, while a push waits.
	zip, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return Result{}, fmt.Errorf("compress archive: %w", err)
	}
	a := &archiver{tar: tar.NewWriter(zip), left: limits, limits: limits, buf: make([]byte, 64<<10)}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return Result{}, context.Cause(ctx)
		}
		if ignore.Match(f.Path, f.Dir) {
			continue
		}
		if err := a.add(f); err != nil {
			return Result{}, fmt.Errorf("archive %q: %w", f.Path, err)
		}
	}
	if err := errors.Join(a.tar.Close(), zip.Close()); err != nil {
		return Result{}, fmt.Errorf("finish archive: %w", err)
	}
	return Result{Digest: "sha256:" + hex.EncodeToString(out.hash.Sum(nil)), Size: out.n}, nil
}

// Copy writes what r has as it is. It refuses more than limits.Bytes.
func Copy(ctx context.Context, w io.Writer, r io.Reader, limits Limits) (Result, error) {
	out := &counter{to: w, hash: sha256.New()}
	n, err := io.Copy(out, io.LimitReader(r, limits.Bytes+1))
	switch {
	case err != nil:
		return Result{}, fmt.Errorf("copy artifact: %w", err)
	case ctx.Err() != nil:
		return Result{}, context.Cause(ctx)
	case n > limits.Bytes:
		return Result{}, fmt.Errorf("more than %d bytes: %w", limits.Bytes, ErrLimit)
	}
	return Result{Digest: "sha256:" + hex.EncodeToString(out.hash.Sum(nil)), Size: out.n}, nil
}

type archiver struct {
	tar          *tar.Writer
	left, limits Limits
	buf          []byte
}

func (a *archiver) add(f File) error {
	if a.left.Entries--; a.left.Entries < 0 {
		return fmt.Errorf("more than %d entries: %w", a.limits.Entries, ErrLimit)
	}
	header := &tar.Header{Format: tar.FormatPAX, ModTime: time.Unix(0, 0)}
	if f.Dir {
		header.Typeflag, header.Name, header.Mode = tar.TypeDir, f.Path+"/", modeDir
		return a.tar.WriteHeader(header)
	}
	size, content, err := f.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	if a.left.Bytes -= size; a.left.Bytes < 0 {
		return fmt.Errorf("more than %d bytes in all: %w", a.limits.Bytes, ErrLimit)
	}
	header.Typeflag, header.Name, header.Mode, header.Size = tar.TypeReg, f.Path, modeFile, size
	if f.Executable {
		header.Mode = modeExecutable
	}
	if err := a.tar.WriteHeader(header); err != nil {
		return err
	}
	n, err := io.CopyBuffer(onlyWriter{a.tar}, content, a.buf)
	if err == nil && n != size {
		err = fmt.Errorf("content has %d bytes, not the %d it should: %w", n, size, io.ErrUnexpectedEOF)
	}
	return err
}

// onlyWriter hides ReadFrom, which would allocate a buffer for every file.
type onlyWriter struct{ io.Writer }

// counter hashes and counts what passes.
type counter struct {
	to   io.Writer
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
	n int64
}

// Write passes p on.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	_, _ = c.hash.Write(p[:n]) // a hash never fails to write
	c.n += int64(n)
	return n, err
}
