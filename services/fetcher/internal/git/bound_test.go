package git

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
		m := newMirror(t.TempDir(), cache.NewObjectLRUDefault(), share.New(1, 1))
		if err := m.open(); err != nil {
			t.Fatal(err)
		}
		if err := m.keep(t.Context(), headed(t, maxObjects), thin); err == nil || errors.Is(err, ErrLimit) {
			t.Errorf("as many as there may be: got %v, want what is wrong with the pack itself", err)
		}
		err := m.keep(t.Context(), headed(t, maxObjects+1), thin)
		if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "a branch or tag needs no history") {
			t.Errorf("one more: got %v, want the limit and what to do", err)
		}
	}
}

// Packs of many objects are stored one at a time, of whatever mirrors; one of few waits for none.
func TestPacksOfManyObjectsTakeTurns(t *testing.T) {
	indexing := share.New(1, 1)
	m := newMirror(t.TempDir(), cache.NewObjectLRUDefault(), indexing)
	if err := m.open(); err != nil {
		t.Fatal(err)
	}
	if !indexing.Try("another mirror") {
		t.Fatal("the place is taken")
	}
	ended, cancel := context.WithCancelCause(t.Context())
	late := errors.New("the pass has ended")
	cancel(late)
	if err := m.keep(ended, headed(t, manyObjects+1), false); !errors.Is(err, late) || !strings.Contains(err.Error(), "wait for other packs") {
		t.Errorf("many: got %v, want that it waited", err)
	}
	if err := m.keep(t.Context(), headed(t, manyObjects), false); err == nil || strings.Contains(err.Error(), "wait") {
		t.Errorf("few: got %v, want what is wrong with the pack itself", err)
	}
	indexing.Leave("another mirror")
	for range 2 {
		if err := m.keep(t.Context(), headed(t, manyObjects+1), false); err == nil || strings.Contains(err.Error(), "wait") {
			t.Errorf("many, when nobody is there: got %v, want what is wrong with the pack itself", err)
		}
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
	if err := newMirror(dir, cache.NewObjectLRUDefault(), share.New(1, 1)).open(); err != nil {
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
