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

// keep adds a pack to the mirror. A first one is stored as it is, a thin one object by object. One that takes much
// memory waits for others that do, those of other namespaces before more of its own.
func (m *mirror) keep(ctx context.Context, namespace string, pack *spool.Spool, thin bool) error {
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
	}
	found, err := checkObjects(content)
	if err != nil {
		return fmt.Errorf("receive pack: %w", err)
	}
	if objects <= manyObjects && found.largest <= largeObject && !(thin && found.all > muchContent) {
		if err := m.add(content, thin, littleHeld); !errors.Is(err, ErrLimit) {
			return err
		}
	}
	if err := m.indexing.Enter(ctx, namespace); err != nil {
		return fmt.Errorf("wait for other large packs: %w", err)
	}
	defer m.indexing.Leave(namespace)
	return m.add(content, thin, maxHeld)
}

// add adds a pack whose objects were checked, of which so many bytes may be held.
func (m *mirror) add(content io.ReadSeeker, thin bool, most int64) error {
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read pack: %w", err)
	}
	if !thin {
		return wrapStore(m.store.add(content, most))
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
	// long history, such as Kubernetes, has 1.5 million.
	maxObjects = 2_000_000
	// Packs of more than manyObjects are stored one at a time, as are those with an object of more than largeObject
	// bytes, those that need more than littleHeld of what maxHeld bounds, and thin ones of more than muchContent
	// together, of which the library that stores them keeps as much.
	manyObjects = 100_000
	littleHeld  = 16 << 20
	muchContent = 32 << 20
	// maxObject bounds an object before compression: what stores a pack has each in memory.
	maxObject = 128 << 20
	// minExpanded and maxExpansion bound all objects of a pack: that many bytes, and as many
	// times the pack's. Years of changes to one large file take few bytes each as deltas.
	minExpanded  = 32 << 30
	maxExpansion = 100
)

var errTooLarge = fmt.Errorf("an object has more than %d bytes: %w", maxObject, ErrLimit)

// weight is how many bytes the largest has of the objects of a pack and of what they are made of, and how many all
// its objects have together.
type weight struct{ largest, all int64 }

// checkObjects refuses a pack with an object that is too large, whether it is sent as it is or as
// what differs from another one, and one whose objects are too much together.
func checkObjects(pack io.ReadSeeker) (weight, error) {
	var found weight
	size, err := pack.Seek(0, io.SeekEnd)
	if err != nil {
		return found, err
	}
	if _, err := pack.Seek(0, io.SeekStart); err != nil {
		return found, err
	}
	most := minExpanded + maxExpansion*size
	scanner := packfile.NewScanner(pack)
	_, count, err := scanner.Header()
	for n := uint32(0); n < count && err == nil; n++ {
		var made, of int64
		made, of, err = checkObject(scanner)
		found.largest = max(found.largest, made, of)
		if found.all += made; found.all > most {
			return found, fmt.Errorf("its objects have more than %d bytes, the most for a pack of %d (a branch or tag needs no history): %w",
				most, size, ErrLimit)
		}
	}
	return found, err
}

// checkObject returns the size of the next object and, if that is a delta, of what it is made of: another object, or
// the delta if that is larger.
func checkObject(scanner *packfile.Scanner) (made, of int64, err error) {
	header, err := scanner.NextObjectHeader()
	if err != nil {
		return 0, 0, err
	}
	if header.Length > maxObject {
		return 0, 0, errTooLarge
	}
	// A delta begins with the sizes of what it is about, and of what it makes of that.
	begin := &beginning{left: 2 * binary.MaxVarintLen64}
	if _, _, err := scanner.NextObject(begin); err != nil || !header.Type.IsDelta() {
		return header.Length, 0, err
	}
	from, to, _, err := sizes(begin.Bytes())
	switch {
	case err != nil:
		return 0, 0, err
	case from > maxObject || to > maxObject:
		return 0, 0, errTooLarge
	}
	return int64(to), max(int64(from), header.Length), nil
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
