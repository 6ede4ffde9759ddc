package git

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto"
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/hash"

	"github.com/sluice-gitops/sluice/internal/share"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/spool"
)

// entry is an object as a pack has it; before is how far back the one lies that a delta is about.
func entry(t *testing.T, kind plumbing.ObjectType, before byte, declared int, content io.Reader) []byte {
	t.Helper()
	var out bytes.Buffer
	first, rest := byte(kind)<<4|byte(declared&15), declared>>4
	for ; rest > 0; rest >>= 7 {
		out.WriteByte(first | 128)
		first = byte(rest & 127)
	}
	out.WriteByte(first)
	if kind == plumbing.OFSDeltaObject {
		out.WriteByte(before)
	}
	zip := zlib.NewWriter(&out)
	if _, err := io.Copy(zip, content); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// packOf is a pack of entries.
func packOf(first []byte, more ...[]byte) []byte {
	pack := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(1+len(more)))
	pack = append(pack, first...)
	for _, e := range more {
		pack = append(pack, e...)
	}
	sum := hash.New(crypto.SHA1)
	_, _ = sum.Write(pack) // never fails
	return sum.Sum(pack)
}

type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// An object that would fill the memory is refused, however few bytes it takes on the way.
func TestObjectsOfAPackAreBounded(t *testing.T) {
	blob := func(size int64) []byte {
		return entry(t, plumbing.BlobObject, 0, int(size), io.LimitReader(zeros{}, size))
	}
	base := blob(4)
	delta := func(sizes ...uint64) []byte {
		var text []byte
		for _, size := range sizes {
			text = binary.AppendUvarint(text, size)
		}
		return entry(t, plumbing.OFSDeltaObject, byte(len(base)), len(text), bytes.NewReader(text))
	}
	for reason, c := range map[string]struct {
		second []byte
		limit  bool
		fails  bool
		times  int // how often the second one is there, once when zero
	}{
		"a small object":                          {blob(1000), false, false, 0},
		"one of the most bytes":                   {blob(maxObject), false, false, 0},
		"one more":                                {blob(maxObject + 1), true, true, 0},
		"a delta that makes a small one":          {delta(4, 1000), false, false, 0},
		"a delta that makes one of too many":      {delta(4, maxObject+1), true, true, 0},
		"a delta that does not say what it makes": {delta(4), false, true, 0},
		"an object that is longer than it says":   {entry(t, plumbing.BlobObject, 0, 4, io.LimitReader(zeros{}, 1000)), false, true, 0},
		"as much as all may make together":        {delta(4, maxObject), false, false, minExpanded / maxObject},
		"one more than that":                      {delta(4, maxObject), true, true, minExpanded/maxObject + 1},
	} {
		pack := packOf(base, slices.Repeat([][]byte{c.second}, max(c.times, 1))...)
		_, err := checkObjects(bytes.NewReader(pack))
		if errors.Is(err, ErrLimit) != c.limit || (err != nil) != c.fails {
			t.Errorf("%s: got %v", reason, err)
		}
	}
}

// ends is a context that ends while it is looked at.
type ends struct {
	context.Context

	looks int
}

// Err implements context.Context.
func (e *ends) Err() error {
	if e.looks--; e.looks < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// Whenever the time of a pass ends, a pack that makes much of little is given up, with nothing
// left of it.
func TestPackEndsWithItsPass(t *testing.T) {
	const size, deltas = 1000, 5
	first := entry(t, plumbing.BlobObject, 0, size, io.LimitReader(zeros{}, size))
	content, before := bytes.Repeat([]byte{0}, size), first
	var more [][]byte
	for n := range deltas {
		text := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(size+n)), uint64(size+n+1))
		text = append(text, 0xb0, byte(size+n), byte((size+n)>>8), 1, 'x') // a copy of all, and a byte
		before = entry(t, plumbing.OFSDeltaObject, byte(len(before)), len(text), bytes.NewReader(text))
		content, more = append(content, 'x'), append(more, before)
	}
	last := plumbing.ComputeHash(plumbing.BlobObject, content)
	for name, thin := range map[string]bool{"as it is": false, "object by object": true} {
		looks := 0
		for ; ; looks++ {
			m := newMirror(t.TempDir(), cache.NewObjectLRUDefault(), share.NewTurns())
			if err := m.open(); err != nil {
				t.Fatal(err)
			}
			pack := spool.New(t.TempDir())
			if _, err := pack.Write(packOf(first, more...)); err != nil {
				t.Fatal(err)
			}
			err := m.keep(&ends{context.Background(), looks}, "", pack, thin)
			if err == nil {
				if err := m.store.HasEncodedObject(last); err != nil {
					t.Errorf("%s: the last object: %v", name, err)
				}
				break
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("%s, after %d reads: %v", name, looks, err)
			}
			left, err := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "*"))
			if err != nil || len(left) > 0 {
				t.Errorf("%s, after %d reads: %v is left, %v", name, looks, left, err)
			}
		}
		if looks < deltas {
			t.Errorf("%s: it was looked %d times whether the pass has ended, want once for each delta", name, looks)
		}
	}
}
