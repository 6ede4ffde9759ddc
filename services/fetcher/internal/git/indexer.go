package git

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

const (
	// maxHeld bounds what is in memory of objects that more than one is still to be made of: where each is
	// made of the one before there are none, however long that goes on. It is as little as lets two be made of one
	// object of the most bytes, and with that object, one that is made of it, and the delta, four times maxObject are
	// in memory at most. It bounds too what the deltas have together by which an object is made: who reads it later
	// has them in memory.
	maxHeld = maxObject
	// maxChain is the most deltas from an object that is there as it is to one that is made, as in Git itself.
	maxChain = 4095
)

// indexer makes the index of a pack that brings all that its objects are made of. It holds an
// object no longer than until the last one is made of it, and begins that one last which most
// others are made of: so little is held beside the one that is made.
type indexer struct {
	scanner *packfile.Scanner
	into    *idxfile.Writer
	// objects are in the order of the pack.
	objects []packed
	// waiting are deltas about an object that the pack names by its hash.
	waiting map[plumbing.Hash][]int
	delta   bytes.Buffer
	done    int
	// held is what is in memory of objects on the way to the one that is made. It may be most, and so may
	// the deltas on that way.
	held, most int64
}

// packed is an object of a pack.
type packed struct {
	offset int64
	crc    uint32
	kind   plumbing.ObjectType
	hash   plumbing.Hash // zero for a delta
	// base is what a delta that says where it is made of; newest is the last delta of those about the object, and
	// next the one before this one about the same base: each is a place in the pack plus one, none is zero. That takes less
	// memory than lists. Descendants is how many deltas there are about it, with those about them; it
	// leaves out those that name an object by its hash, which is not known before it is made.
	base, newest, next, descendants int32
}

// made are the deltas about an object that say where it is.
func (x *indexer) made(n int) []int {
	var made []int
	for next := x.objects[n].newest; next > 0; next = x.objects[next-1].next {
		made = append(made, int(next-1))
	}
	return made
}

// indexPack reads a pack and returns its checksum and index.
func indexPack(pack io.Reader, most int64) (plumbing.Hash, *idxfile.MemoryIndex, error) {
	x := &indexer{scanner: packfile.NewScanner(pack), into: new(idxfile.Writer), waiting: map[plumbing.Hash][]int{}, most: most}
	checksum, err := x.scan()
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	for n := range x.objects {
		if o := &x.objects[n]; !o.kind.IsDelta() {
			if err := x.family(n); err != nil {
				return plumbing.ZeroHash, nil, err
			}
		}
	}
	if x.done < len(x.objects) {
		return plumbing.ZeroHash, nil, fmt.Errorf("%d objects are made of others that the pack lacks: %w", len(x.objects)-x.done, packfile.ErrReferenceDeltaNotFound)
	}
	if err := x.into.OnFooter(checksum); err != nil {
		return plumbing.ZeroHash, nil, err
	}
	index, err := x.into.Index()
	return checksum, index, err
}

// scan finds out what there is, without making any object.
func (x *indexer) scan() (plumbing.Hash, error) {
	_, count, err := x.scanner.Header()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	x.objects = make([]packed, 0, min(count, maxObjects))
	for n := range int(count) {
		header, err := x.scanner.NextObjectHeader()
		if err != nil {
			return plumbing.ZeroHash, err
		}
		o, into := packed{offset: header.Offset, kind: header.Type}, io.Discard
		hash := plumbing.NewHasher(header.Type, header.Length)
		switch header.Type {
		case plumbing.OFSDeltaObject:
			base, found := slices.BinarySearchFunc(x.objects, header.OffsetReference, func(p packed, at int64) int { return cmp.Compare(p.offset, at) })
			if !found {
				return plumbing.ZeroHash, fmt.Errorf("a delta is about no object: %w", packfile.ErrMalformedPackFile)
			}
			o.base, o.next = int32(base+1), x.objects[base].newest
			x.objects[base].newest = int32(n + 1)
		case plumbing.REFDeltaObject:
			x.waiting[header.Reference] = append(x.waiting[header.Reference], n)
		default:
			into = hash
		}
		if _, o.crc, err = x.scanner.NextObject(into); err != nil {
			return plumbing.ZeroHash, err
		}
		if !o.kind.IsDelta() {
			o.hash = hash.Sum()
		}
		x.objects = append(x.objects, o)
	}
	for _, o := range slices.Backward(x.objects) { // what is made of an object comes after it
		if o.base > 0 {
			x.objects[o.base-1].descendants += 1 + o.descendants
		}
	}
	return x.scanner.Checksum()
}

// family adds an object that is there as it is, and what is made of it.
func (x *indexer) family(n int) error {
	o := &x.objects[n]
	if o.newest == 0 && len(x.waiting[o.hash]) == 0 {
		x.add(n, o.hash)
		return nil
	}
	var content bytes.Buffer
	if err := x.read(n, &content); err != nil {
		return err
	}
	return x.descend(n, o.kind, content.Bytes(), way{})
}

func (x *indexer) add(n int, hash plumbing.Hash) {
	x.done++
	x.into.Add(hash, uint64(x.objects[n].offset), x.objects[n].crc)
}

// way is how an object is made of one that is there as it is: by how many deltas, of how many bytes.
type way struct {
	deltas int
	bytes  int64
}

// descend adds an object of which there is the content, and what is made of it.
func (x *indexer) descend(n int, kind plumbing.ObjectType, content []byte, by way) error {
	for {
		hash := plumbing.ComputeHash(kind, content)
		x.add(n, hash)
		made := append(x.made(n), x.waiting[hash]...)
		delete(x.waiting, hash)
		if len(made) == 0 {
			return nil
		}
		slices.SortStableFunc(made, func(a, b int) int { return cmp.Compare(x.objects[a].descendants, x.objects[b].descendants) })
		last := len(made) - 1
		for _, next := range made[:last] {
			if err := x.aside(next, kind, content, by); err != nil {
				return err
			}
		}
		var err error
		if content, by, err = x.apply(made[last], content, by); err != nil {
			return err
		}
		n = made[last]
	}
}

// aside adds one of those that are made of an object, and what is made of that, before others are.
func (x *indexer) aside(next int, kind plumbing.ObjectType, content []byte, by way) error {
	if x.held += int64(len(content)); x.held > x.most {
		return fmt.Errorf("objects that many others are made of have more than %d bytes together (a branch or tag needs no history): %w", x.most, ErrLimit)
	}
	made, by, err := x.apply(next, content, by)
	if err == nil {
		err = x.descend(next, kind, made, by)
	}
	x.held -= int64(len(content))
	return err
}

// apply makes an object of another one, and returns how it is made then.
func (x *indexer) apply(n int, content []byte, by way) ([]byte, way, error) {
	x.delta.Reset()
	if err := x.read(n, &x.delta); err != nil {
		return nil, by, err
	}
	by.deltas++
	by.bytes += int64(x.delta.Len())
	switch {
	case by.deltas > maxChain:
		return nil, by, fmt.Errorf("more than %d deltas are about one another: %w", maxChain, packfile.ErrMalformedPackFile)
	case by.bytes > x.most:
		return nil, by, fmt.Errorf("the deltas that make an object have more than %d bytes together (a branch or tag needs no history): %w", x.most, ErrLimit)
	}
	made, err := patch(content, x.delta.Bytes())
	return made, by, err
}

// read reads what the pack has of an object into a buffer that is empty.
func (x *indexer) read(n int, into *bytes.Buffer) error {
	header, err := x.scanner.SeekObjectHeader(x.objects[n].offset)
	if err != nil {
		return err
	}
	// A buffer would take twice what it has when it grows, also to find out that there is no more.
	if size := int(min(header.Length, maxObject)) + bytes.MinRead; into.Cap() < size {
		*into = *bytes.NewBuffer(make([]byte, 0, size))
	}
	_, _, err = x.scanner.NextObject(into)
	return err
}
