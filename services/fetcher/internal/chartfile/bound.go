package chartfile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// maxExpanded bounds what a chart may expand to, with the packages in its charts folder. Helm
// bounds the files of each package by themselves, and not how many there are.
const maxExpanded = 128 << 20

// expand takes what a package expands to away from left.
func expand(archive []byte, left *int64) error {
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	entries := tar.NewReader(&counted{from: zip, left: left})
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, name, _ := strings.Cut(header.Name, "/")
		if !packaged(name) {
			continue
		}
		inner, err := io.ReadAll(entries)
		if err != nil {
			return err
		}
		if err := expand(inner, left); errors.Is(err, pack.ErrLimit) {
			return err
		}
	}
}

// charge takes a file of a chart away from left, with what it expands to if it is a package.
func charge(name string, data []byte, left *int64) error {
	if *left -= int64(len(data)); *left < 0 {
		return tooLarge()
	}
	if !packaged(name) {
		return nil
	}
	if err := expand(data, left); errors.Is(err, pack.ErrLimit) {
		return err
	}
	return nil // what else is wrong with it is Helm's to say
}

// packaged says that a file of a chart is the package of a dependency.
func packaged(name string) bool {
	return strings.HasPrefix(name, "charts/") && strings.HasSuffix(name, ".tgz")
}

func tooLarge() error {
	return fmt.Errorf("it expands to more than %d bytes: %w", maxExpanded, pack.ErrLimit)
}

// counted takes what is read away from left.
type counted struct {
	from io.Reader
	left *int64
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if *c.left -= int64(n); *c.left < 0 {
		return 0, tooLarge()
	}
	return n, err
}
