package git

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
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
	}{
		"a small object":                          {blob(1000), false, false},
		"one of the most bytes":                   {blob(maxObject), false, false},
		"one more":                                {blob(maxObject + 1), true, true},
		"a delta that makes a small one":          {delta(4, 1000), false, false},
		"a delta that makes one of too many":      {delta(4, maxObject+1), true, true},
		"a delta that does not say what it makes": {delta(4), false, true},
		"an object that is longer than it says":   {entry(t, plumbing.BlobObject, 0, 4, io.LimitReader(zeros{}, 1000)), false, true},
	} {
		pack := append([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x02"), base...)
		err := checkObjects(bytes.NewReader(append(pack, c.second...)))
		if errors.Is(err, ErrLimit) != c.limit || (err != nil) != c.fails {
			t.Errorf("%s: got %v", reason, err)
		}
	}
}
