package git

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"

	"github.com/sluice-gitops/sluice/internal/share"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/spool"
)

// headed is a pack that begins with a number of objects, and has none.
func headed(t *testing.T, objects uint32) *spool.Spool {
	t.Helper()
	pack := spool.New(t.TempDir())
	if _, err := pack.Write(binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), objects)); err != nil {
		t.Fatal(err)
	}
	return pack
}

// A pack of so many objects that its index would fill the memory is refused before any is looked at.
func TestManyObjectsAreRefused(t *testing.T) {
	for _, thin := range []bool{false, true} {
		m := newMirror(t.TempDir(), cache.NewObjectLRUDefault(), share.NewTurns())
		if err := m.open(); err != nil {
			t.Fatal(err)
		}
		if err := m.keep(t.Context(), "", headed(t, maxObjects), thin); err == nil || errors.Is(err, ErrLimit) {
			t.Errorf("as many as there may be: got %v, want what is wrong with the pack itself", err)
		}
		err := m.keep(t.Context(), "", headed(t, maxObjects+1), thin)
		if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "a branch or tag needs no history") {
			t.Errorf("one more: got %v, want the limit and what to do", err)
		}
	}
}

// Packs that take much memory are stored one at a time, of whatever mirrors, and wait for other namespaces'; one that takes
// little waits for none.
func TestLargePacksTakeTurns(t *testing.T) {
	blob := func(size int) []byte {
		return entry(t, plumbing.BlobObject, 0, size, io.LimitReader(zeros{}, int64(size)))
	}
	half := largeObject / 2
	held := [][]byte{blob(half)} // each has two that are made of it, of which the first goes on
	for n := range 5 {
		hash := plumbing.ComputeHash(plumbing.BlobObject, append(make([]byte, half), strings.Repeat("x", n)...))
		held = append(held, about(t, hash, alter(half+n, "x")), about(t, hash, alter(half+n, "leaf")))
	}
	small := blob(10)
	for why, c := range map[string]struct {
		pack        []byte
		whole, thin bool // whether it waits
	}{
		"few small objects":                     {packOf(small, blob(20)), false, false},
		"objects that are not large":            {packOf(blob(largeObject), blob(largeObject-1)), false, false},
		"a large object":                        {packOf(small, blob(largeObject+1)), true, true},
		"a delta that makes a large one":        {packOf(blob(largeObject), far(t, len(blob(largeObject)), alter(largeObject, "x"))), true, true},
		"many objects":                          {packOf(small, slices.Repeat([][]byte{small}, manyObjects)...), true, true},
		"much content":                          {packOf(small, slices.Repeat([][]byte{blob(largeObject)}, muchContent/largeObject)...), false, true},
		"objects that others are to be made of": {packOf(held[0], held[1:]...), true, true},
	} {
		for thin, waits := range map[bool]bool{false: c.whole, true: c.thin} {
			turns := share.NewTurns()
			m := newMirror(t.TempDir(), cache.NewObjectLRUDefault(), turns)
			if err := m.open(); err != nil {
				t.Fatal(err)
			}
			pack := spool.New(t.TempDir())
			if _, err := pack.Write(c.pack); err != nil {
				t.Fatal(err)
			}
			if err := turns.Enter(t.Context(), "other"); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- m.keep(t.Context(), "own", pack, thin) }()
			tick := time.NewTicker(time.Millisecond)
			for turns.Waiting() == 0 && len(ended) == 0 {
				<-tick.C
			}
			tick.Stop()
			waited := turns.Waiting() == 1
			turns.Leave("other")
			if err := <-ended; err != nil || waited != waits {
				t.Errorf("%s, thin %t: waited %t, %v, want %t", why, thin, waited, err, waits)
			}
		}
	}
}

// However many packs of one namespace wait, another one comes after one of them.
func TestNamespacesTakeTurns(t *testing.T) {
	turns := share.NewTurns()
	m := newMirror(t.TempDir(), cache.NewObjectLRUDefault(), turns)
	if err := m.open(); err != nil {
		t.Fatal(err)
	}
	pack := spool.New(t.TempDir())
	if _, err := pack.Write(packOf(entry(t, plumbing.BlobObject, 0, largeObject+1, io.LimitReader(zeros{}, largeObject+1)))); err != nil {
		t.Fatal(err)
	}
	if err := turns.Enter(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	ended, other := make(chan error, 1), make(chan error, 1)
	for n, begin := range []func(){
		func() { ended <- m.keep(t.Context(), "a", pack, false) },
		func() { other <- turns.Enter(t.Context(), "b") },
	} {
		go begin()
		for turns.Waiting() <= n {
			<-tick.C
		}
	}
	turns.Leave("a")
	if err := <-other; err != nil || len(ended) > 0 {
		t.Errorf("b waited until %d packs of a were stored, %v", len(ended), err)
	}
	turns.Leave("b")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Who asks is no part of what is asked: namespaces share answers and mirrors.
func TestNamespacesShare(t *testing.T) {
	c, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	a, b := Remote{URL: "https://example.org/x", Namespace: "a"}, Remote{URL: "https://example.org/x", Namespace: "b"}
	if a.identity() != b.identity() || c.mirrorName(a, false) != c.mirrorName(b, false) {
		t.Error("namespaces do not share")
	}
}

// What a killed process left beside the mirrors goes with the next start.
func TestScratchGoes(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"known_hosts-1", "x.git"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || slices.Contains(left, filepath.Join(dir, "known_hosts-1")) || !slices.Contains(left, filepath.Join(dir, "x.git")) {
		t.Errorf("%q is there, %v", left, err)
	}
}

// What a killed process left half done in a mirror goes when the mirror is opened.
func TestHalfDoneFilesGo(t *testing.T) {
	dir := t.TempDir()
	packs := filepath.Join(dir, "objects", "pack")
	if err := os.MkdirAll(packs, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"spool-1", "tips.new", "tips", "objects/pack/new-1", "objects/pack/pack-1.new", "objects/pack/pack-1.idx", "objects/pack/tmp_pack_1",
		"objects/pack/tmp_obj_1", "objects/pack/pack-2.pack", "objects/pack/pack-2.idx",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := newMirror(dir, cache.NewObjectLRUDefault(), share.NewTurns()).open(); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string][]string{
		dir: {"objects", "refs", "tips"}, packs: {"pack-2.idx", "pack-2.pack"},
	} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", folder, got, want)
		}
	}
}
