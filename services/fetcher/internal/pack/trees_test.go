package pack_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// However many archives one pass unpacks, and however often one of them, they have the scratch disk of one.
func TestTreesAreBoundedTogether(t *testing.T) {
	dir := t.TempDir()
	trees := pack.NewTrees(dir, limits())
	opened := 0
	half := limits().Bytes / 2
	unpack := func(id string, size int64) (*pack.Unpacked, error) {
		body := compressed(t, 0, tar.Header{Name: "a", Size: size})
		return trees.Unpack(t.Context(), id, func() (io.ReadCloser, error) {
			opened++
			return io.NopCloser(bytes.NewReader(body)), nil
		})
	}
	first, err := unpack("first", half)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if again, err := unpack("first", half); err != nil || again != first {
			t.Fatalf("again: %v, %v", again, err)
		}
	}
	if opened != 1 {
		t.Errorf("it was opened %d times", opened)
	}
	if _, err := unpack("too large", half+1); !errors.Is(err, pack.ErrLimit) {
		t.Errorf("more than there is room for: %v", err)
	}
	if _, err := unpack("second", half); err != nil {
		t.Errorf("as much as there is room for: %v", err)
	}
	if err := trees.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
