package git

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// alter is a delta that copies size bytes and adds what comes after them.
func alter(size int, more string) []byte {
	text := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(size)), uint64(size+len(more)))
	for at := 0; at < size; {
		n := min(size-at, 0xffffff)
		text = append(text, 0xff, byte(at), byte(at>>8), byte(at>>16), byte(at>>24), byte(n), byte(n>>8), byte(n>>16))
		at += n
	}
	if more == "" {
		return text
	}
	return append(append(text, byte(len(more))), more...)
}

// about makes an entry a delta about the object with a hash.
func about(t *testing.T, hash plumbing.Hash, text []byte) []byte {
	t.Helper()
	e := entry(t, plumbing.REFDeltaObject, 0, len(text), bytes.NewReader(text))
	n := 1
	for e[n-1]&128 != 0 {
		n++
	}
	return append(append(bytes.Clone(e[:n]), hash[:]...), e[n:]...)
}

// far makes an entry a delta about the object that lies so many bytes before it.
func far(t *testing.T, before int, text []byte) []byte {
	t.Helper()
	e := entry(t, plumbing.OFSDeltaObject, 0, len(text), bytes.NewReader(text))
	n := 1
	for e[n-1]&128 != 0 {
		n++
	}
	back := []byte{byte(before & 127)}
	for before >>= 7; before > 0; before >>= 7 {
		before--
		back = append([]byte{byte(before&127) | 128}, back...)
	}
	return append(append(bytes.Clone(e[:n]), back...), e[n+1:]...)
}

// Every object of a pack is found, in whatever order it has them.
func TestIndexOfAPack(t *testing.T) {
	blob := func(text string) []byte {
		return entry(t, plumbing.BlobObject, 0, len(text), bytes.NewReader([]byte(text)))
	}
	hash := func(text string) plumbing.Hash { return plumbing.ComputeHash(plumbing.BlobObject, []byte(text)) }
	base := blob("base")
	one := far(t, len(base), alter(4, "1"))
	for why, c := range map[string]struct {
		pack  []byte
		texts []string // of the objects
		want  error
	}{
		"objects as they are":                {packOf(base, blob("other")), []string{"base", "other"}, nil},
		"what is made of one before it":      {packOf(base, one, far(t, len(base)+len(one), alter(4, "2"))), []string{"base", "base1", "base2"}, nil},
		"what is made of what was made":      {packOf(base, one, far(t, len(one), alter(5, "2"))), []string{"base", "base1", "base12"}, nil},
		"by hash":                            {packOf(base, about(t, hash("base"), alter(4, "1"))), []string{"base", "base1"}, nil},
		"before what it is made of":          {packOf(about(t, hash("base"), alter(4, "1")), base), []string{"base", "base1"}, nil},
		"before what is made itself":         {packOf(about(t, hash("base1"), alter(5, "2")), base, one), []string{"base", "base1", "base12"}, nil},
		"one object twice":                   {packOf(base, base, one), []string{"base", "base1"}, nil},
		"made of what is not there":          {packOf(base, about(t, hash("none"), alter(4, "1"))), nil, packfile.ErrReferenceDeltaNotFound},
		"made of one another":                {packOf(about(t, hash("b"), alter(1, "a")), about(t, hash("a"), alter(1, "b"))), nil, packfile.ErrReferenceDeltaNotFound},
		"made of what is between two others": {packOf(base, far(t, len(base)-1, alter(4, "1"))), nil, packfile.ErrMalformedPackFile},
		"made of what has another size":      {packOf(base, far(t, len(base), alter(5, "1"))), nil, packfile.ErrInvalidDelta},
	} {
		_, index, err := indexPack(bytes.NewReader(c.pack), maxHeld)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", why, err, c.want)
		}
		if err != nil {
			continue
		}
		for _, text := range c.texts {
			if _, err := index.FindOffset(hash(text)); err != nil {
				t.Errorf("%s: %q: %v", why, text, err)
			}
		}
		if n, err := index.Count(); err != nil || n != int64(len(c.texts)) {
			t.Errorf("%s: %d objects, %v, want %d", why, n, err, len(c.texts))
		}
	}
}

// live reads a pack, and notes the most that is in memory when it is read.
type live struct {
	*bytes.Reader

	most uint64
}

// Seek implements io.Seeker. Each object is sought once when it is made.
func (l *live) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekStart {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		l.most = max(l.most, m.HeapAlloc)
	}
	return l.Reader.Seek(offset, whence)
}

// firstTwo returns the hashes of an object of zeros, and of the one made of it by an x at its end.
func firstTwo(size int) (first, second plumbing.Hash) {
	content := make([]byte, size+1)
	content[size] = 'x'
	return plumbing.ComputeHash(plumbing.BlobObject, content[:size]), plumbing.ComputeHash(plumbing.BlobObject, content)
}

// However many large objects are made one of the other, no more of them are in memory than it takes to
// make one, and what two are made of.
func TestMemoryOfLargeObjects(t *testing.T) {
	const size = 100 << 20
	base := entry(t, plumbing.BlobObject, 0, size, io.LimitReader(zeros{}, size))
	chain := [][]byte{base}
	for n := range 6 {
		chain = append(chain, far(t, len(chain[n]), alter(size+n, "x")))
	}
	first, second := firstTwo(size)
	for why, parts := range map[string][][]byte{
		"each of the one before":               chain,
		"two of one, and another of the first": {base, about(t, first, alter(size, "x")), about(t, first, alter(size, "y")), about(t, second, alter(size+1, "z"))},
	} {
		pack := &live{Reader: bytes.NewReader(packOf(parts[0], parts[1:]...))}
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		_, index, err := indexPack(pack, maxHeld)
		if err != nil {
			t.Fatalf("%s: %v", why, err)
		}
		if n, err := index.Count(); err != nil || n != int64(len(parts)) {
			t.Errorf("%s: %d objects, %v", why, n, err)
		}
		if held := pack.most - before.HeapAlloc; held > 2*size+size/2 {
			t.Errorf("%s: %d MiB were in memory, want what two objects take", why, held>>20)
		}
	}
}

// What many others are made of stays in memory meanwhile: that is bounded.
func TestWhatIsHeldIsBounded(t *testing.T) {
	base := entry(t, plumbing.BlobObject, 0, 1000, io.LimitReader(zeros{}, 1000))
	parts, before := [][]byte{base}, len(base)
	for range 3 { // each has two that are made of it, of which the second goes on
		leaf := far(t, before, alter(1000, "leaf"))
		next := far(t, before+len(leaf), alter(1000, ""))
		parts, before = append(parts, leaf, next), len(next)
	}
	pack := packOf(parts[0], parts[1:]...)
	if _, _, err := indexPack(bytes.NewReader(pack), 1000); err != nil {
		t.Errorf("one at a time: %v", err)
	}
	if _, _, err := indexPack(bytes.NewReader(pack), 999); !errors.Is(err, ErrLimit) {
		t.Errorf("got %v, want that there is a limit", err)
	}
}

// So is what deltas have together of which each is about what the one before makes.
func TestDeltasOfAnObjectAreBounded(t *testing.T) {
	parts, size := [][]byte{entry(t, plumbing.BlobObject, 0, 4, io.LimitReader(zeros{}, 4))}, 4
	for n := range 3 {
		text := alter(size, strings.Repeat(string(rune('a'+n)), 100))
		parts, size = append(parts, far(t, len(parts[n]), text)), size+100
	}
	pack := packOf(parts[0], parts[1:]...)
	for most, limit := range map[int64]bool{400: false, 300: true} {
		if _, _, err := indexPack(bytes.NewReader(pack), most); errors.Is(err, ErrLimit) != limit || (err != nil) != limit {
			t.Errorf("of %d bytes at most: %v", most, err)
		}
	}
}

// Nor is any made by more deltas than Git itself writes.
func TestDeltasOfAnObjectAreCounted(t *testing.T) {
	for length, want := range map[int]error{maxChain: nil, maxChain + 1: packfile.ErrMalformedPackFile} {
		parts := [][]byte{entry(t, plumbing.BlobObject, 0, 4, io.LimitReader(zeros{}, 4))}
		for n := range length {
			parts = append(parts, far(t, len(parts[n]), alter(4+n, "x")))
		}
		if _, _, err := indexPack(bytes.NewReader(packOf(parts[0], parts[1:]...)), maxHeld); !errors.Is(err, want) {
			t.Errorf("%d: got %v, want %v", length, err, want)
		}
	}
}

// A delta is applied as Git's library does, and to nothing that it is not about.
func TestPatch(t *testing.T) {
	base := []byte("0123456789")
	for why, c := range map[string]struct {
		delta []byte
		want  string
		fails bool
	}{
		"a copy, and what is added":     {[]byte{10, 5, 0x91, 2, 3, 2, 'a', 'b'}, "234ab", false},
		"nothing":                       {[]byte{10, 0}, "", false},
		"no command":                    {[]byte{10, 1, 0}, "", true},
		"a copy past the end":           {[]byte{10, 3, 0x91, 8, 3}, "", true},
		"a copy of 64 KiB":              {[]byte{10, 3, 0x80}, "", true},
		"half a copy":                   {[]byte{10, 3, 0x91, 2}, "", true},
		"less is added than it says":    {[]byte{10, 3, 3, 'a'}, "", true},
		"it makes less than it says":    {[]byte{10, 3, 1, 'a'}, "", true},
		"it makes more than it says":    {[]byte{10, 1, 2, 'a', 'b'}, "", true},
		"it is about another object":    {[]byte{9, 1, 1, 'a'}, "", true},
		"it makes one of too many":      {binary.AppendUvarint([]byte{10}, maxObject+1), "", true},
		"it does not say what it makes": {[]byte{10}, "", true},
	} {
		got, err := patch(base, c.delta)
		if string(got) != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %q, %v", why, got, err)
		}
		if other, err := packfile.PatchDelta(base, c.delta); string(other) != c.want || (err != nil) != c.fails {
			t.Errorf("%s, by the library: %q, %v", why, other, err)
		}
	}
}
