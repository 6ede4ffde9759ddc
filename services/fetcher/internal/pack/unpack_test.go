package pack_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// compressed returns a gzip-compressed tar of entries, each with as many zeros as its
// header says, and then as many zeros again as more says.
func compressed(t *testing.T, more int, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for _, header := range entries {
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, header.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := zip.Write(make([]byte, more)); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpackRefusesBombs(t *testing.T) {
	links := make([]tar.Header, 101)
	for i := range links {
		links[i] = tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeSymlink, Linkname: "x"}
	}
	for reason, archive := range map[string][]byte{
		"content that grows":                    compressed(t, 0, tar.Header{Name: "a", Size: 2 << 20}),
		"an entry of an unknown kind that does": compressed(t, 0, tar.Header{Name: "a", Typeflag: 'Z', Size: 8 << 20}),
		"zeros after the last entry":            compressed(t, 8<<20, tar.Header{Name: "a"}),
		"more links than entries are allowed":   compressed(t, 0, links...),
		"a name of half a megabyte":             compressed(t, 0, tar.Header{Name: strings.Repeat("n", 1<<19)}),
		"a path of very many folders":           compressed(t, 0, tar.Header{Name: strings.Repeat("d/", 300) + "f"}),
	} {
		u, err := pack.Unpack(t.Context(), bytes.NewReader(archive), t.TempDir(), limits())
		if !errors.Is(err, pack.ErrLimit) {
			t.Errorf("%s: got %v, want that a limit is exceeded", reason, err)
		}
		if err == nil {
			_ = u.Close()
		}
	}
}

func TestUnpackTakesWhatIsWithinTheLimits(t *testing.T) {
	for reason, archive := range map[string][]byte{
		"all the bytes there may be":    compressed(t, 0, tar.Header{Name: "a", Size: 1 << 20}),
		"padding that tar puts there":   compressed(t, 10240, tar.Header{Name: "a"}),
		"links and devices are skipped": compressed(t, 0, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../../etc"}, tar.Header{Name: "d", Typeflag: tar.TypeChar}, tar.Header{Name: "a"}),
	} {
		u, err := pack.Unpack(t.Context(), bytes.NewReader(archive), t.TempDir(), limits())
		if err != nil {
			t.Errorf("%s: %v", reason, err)
			continue
		}
		if len(u.Files) != 1 || u.Files[0].Path != "a" {
			t.Errorf("%s: got %v, want one file", reason, u.Files)
		}
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestUnpackEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	_, err := pack.Unpack(ctx, bytes.NewReader(compressed(t, 0, tar.Header{Name: "a"})), t.TempDir(), limits())
	if !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}
