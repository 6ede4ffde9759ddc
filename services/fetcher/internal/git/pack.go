package git

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/spool"
)

// keep adds a pack to the mirror. A first one is stored as it is, a thin one object by object.
func (m *mirror) keep(ctx context.Context, pack *spool.Spool, thin bool) error {
	whole, err := pack.Content()
	if err != nil {
		return err
	}
	content := until{whole, func() error { return context.Cause(ctx) }}
	var header [12]byte
	if n, err := io.ReadFull(whole, header[:]); err != nil || string(header[:4]) != "PACK" {
		return fmt.Errorf("receive pack: it begins with %d bytes that are no pack", n)
	}
	objects := binary.BigEndian.Uint32(header[8:])
	switch {
	case objects == 0:
		return nil
	case objects > maxObjects:
		return fmt.Errorf("receive pack: it has %d objects, more than %d (a branch or tag needs no history): %w", objects, maxObjects, ErrLimit)
	case objects > manyObjects:
		if err := m.indexing.Enter(ctx, m.dir); err != nil {
			return fmt.Errorf("wait for other packs of many objects: %w", err)
		}
		defer m.indexing.Leave(m.dir)
	}
	return m.add(content, thin)
}

// add adds a pack of no more objects than there may be.
func (m *mirror) add(content io.ReadSeeker, thin bool) error {
	if err := checkObjects(content); err != nil {
		return fmt.Errorf("receive pack: %w", err)
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read pack: %w", err)
	}
	if !thin {
		return wrapStore(m.store.add(content))
	}
	parser, err := packfile.NewParserWithStorage(packfile.NewScanner(content), m.store)
	if err != nil {
		return wrapStore(err)
	}
	_, err = parser.Parse()
	return wrapStore(err)
}

// until is read until there is an error, such as that a context has ended. What makes objects
// of deltas may take long with few bytes, but reads those of each delta.
type until struct {
	io.ReadSeeker

	ended func() error
}

// Read implements io.Reader.
func (u until) Read(p []byte) (int, error) {
	if err := u.ended(); err != nil {
		return 0, err
	}
	return u.ReadSeeker.Read(p)
}

const (
	// maxObjects bounds those of a pack, of which each takes about 300 bytes while the pack is indexed. A project with a
	// long history, such as Kubernetes, has 1.5 million. From more than manyObjects on, packs are stored one at a time.
	maxObjects  = 2_000_000
	manyObjects = 100_000
	// maxObject bounds an object before compression: what stores a pack has each in memory.
	maxObject = 128 << 20
	// minExpanded and maxExpansion bound all objects of a pack: that many bytes, and as many
	// times the pack's. Years of changes to one large file take few bytes each as deltas.
	minExpanded  = 32 << 30
	maxExpansion = 100
)

var errTooLarge = fmt.Errorf("an object has more than %d bytes: %w", maxObject, ErrLimit)

// checkObjects refuses a pack with an object that is too large, whether it is sent as it is or as
// what differs from another one, and one whose objects are too much together.
func checkObjects(pack io.ReadSeeker) error {
	size, err := pack.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := pack.Seek(0, io.SeekStart); err != nil {
		return err
	}
	most := minExpanded + maxExpansion*size
	left := most
	scanner := packfile.NewScanner(pack)
	_, count, err := scanner.Header()
	for n := uint32(0); n < count && err == nil; n++ {
		var object int64
		object, err = checkObject(scanner)
		if left -= object; left < 0 {
			return fmt.Errorf("its objects have more than %d bytes, the most for a pack of %d (a branch or tag needs no history): %w",
				most, size, ErrLimit)
		}
	}
	return err
}

// checkObject returns the size of the next object.
func checkObject(scanner *packfile.Scanner) (int64, error) {
	header, err := scanner.NextObjectHeader()
	if err != nil {
		return 0, err
	}
	if header.Length > maxObject {
		return 0, errTooLarge
	}
	// A delta begins with the sizes of what it is about, and of what it makes of that.
	begin := &beginning{left: 2 * binary.MaxVarintLen64}
	if _, _, err := scanner.NextObject(begin); err != nil || !header.Type.IsDelta() {
		return header.Length, err
	}
	_, n := binary.Uvarint(begin.Bytes())
	size, m := binary.Uvarint(begin.Bytes()[max(n, 0):])
	switch {
	case n <= 0 || m <= 0:
		return 0, errors.New("a delta does not say how large its object is")
	case size > maxObject:
		return 0, errTooLarge
	}
	return int64(size), nil
}

func wrapStore(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, packfile.ErrReferenceDeltaNotFound), errors.Is(err, plumbing.ErrObjectNotFound):
		return fmt.Errorf("%w: store pack: %w", errBroken, err)
	}
	return fmt.Errorf("store pack: %w", err)
}
