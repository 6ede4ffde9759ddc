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

// Spool takes data and gives it back. It is for one goroutine.
type Spool struct {
	dir  string
	buf  bytes.Buffer
	file *os.File
}

// New returns an empty spool that puts files into dir.
func New(dir string) *Spool { return &Spool{dir: dir} }

// Write appends p.
func (s *Spool) Write(p []byte) (int, error) {
	if s.file == nil && s.buf.Len()+len(p) > inMemory {
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

// Close forgets the data.
func (s *Spool) Close() error {
	s.buf = bytes.Buffer{}
	if s.file == nil {
		return nil
	}
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}
