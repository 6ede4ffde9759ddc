// Package spool holds data of unknown size for a moment: in memory while it is
// small, which is the common case and saves the way to the disk, else in a file.
package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// inMemory is the size from which data goes to a file.
const inMemory = 4 << 20

// Spool takes data and gives it back. It is for one goroutine, once it is full its
// Readers for as many as there are.
type Spool struct {
	dir   string
	small int
	buf   bytes.Buffer
	file  *os.File
}

// New returns an empty spool that puts files into dir.
func New(dir string) *Spool { return &Spool{dir: dir, small: inMemory} }

// OnDisk returns an empty spool that holds nothing in memory, for what stays longer.
func OnDisk(dir string) *Spool { return &Spool{dir: dir, small: -1} }

// Write appends p.
func (s *Spool) Write(p []byte) (int, error) {
	if s.file == nil && s.buf.Len()+len(p) > s.small {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	if s.file != nil {
		return s.file.Write(p)
	}
	return s.buf.Write(p)
}

func (s *Spool) spill() (err error) {
	if s.file, err = os.CreateTemp(s.dir, "spool-*"); err != nil {
		return fmt.Errorf("make scratch file: %w", err)
	}
	if _, err = s.buf.WriteTo(s.file); err != nil {
		return fmt.Errorf("fill scratch file: %w", err)
	}
	return nil
}

// Content returns what was written, from its start.
func (s *Spool) Content() (io.ReadSeeker, error) {
	if s.file == nil {
		return bytes.NewReader(s.buf.Bytes()), nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("rewind scratch file: %w", err)
	}
	return s.file, nil
}

// Reader returns a reader of its own of what was written. Readers end with the spool.
func (s *Spool) Reader() (io.ReadSeekCloser, error) {
	if s.file == nil {
		return inPlace{bytes.NewReader(s.buf.Bytes())}, nil
	}
	file, err := os.Open(s.file.Name())
	if err != nil {
		return nil, fmt.Errorf("open scratch file: %w", err)
	}
	return file, nil
}

// inPlace is a reader that need not be closed.
type inPlace struct{ *bytes.Reader }

// Close implements io.Closer.
func (inPlace) Close() error { return nil }

// Close forgets the data.
func (s *Spool) Close() error {
	s.buf = bytes.Buffer{}
	if s.file == nil {
		return nil
	}
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}
