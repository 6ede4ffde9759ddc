package gitrepository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// An artifact that is included many times is unpacked once, and makes no endless tree.
func TestIncludesOfOneRepository(t *testing.T) {
	limits := pack.Limits{Entries: 100, Bytes: 1 << 20}
	var archive bytes.Buffer
	if _, err := pack.Archive(t.Context(), &archive, []pack.File{{Path: "a", Open: func() (int64, io.ReadCloser, error) {
		return limits.Bytes, io.NopCloser(bytes.NewReader(make([]byte, limits.Bytes))), nil
	}}}, nil, limits); err != nil {
		t.Fatal(err)
	}
	opened := 0
	k := &Kind{config: Config{Limits: limits, Scratch: t.TempDir(), Artifact: func(context.Context, events.Key, string) (io.ReadCloser, error) {
		opened++
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}}}
	var includes []include
	for n := range 101 {
		includes = append(includes, include{
			spec:     sourcev1.GitRepositoryInclude{GitRepositoryRef: meta.LocalObjectReference{Name: "x"}, ToPath: fmt.Sprint(n)},
			artifact: &meta.Artifact{Digest: "sha256:x"},
		})
	}
	files, done, err := k.copyIncludes(t.Context(), "ns", nil, includes[:50])
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if len(files) != 100 || opened != 1 { // a folder and a file each
		t.Errorf("%d files of %d archives", len(files), opened)
	}
	if _, _, err := k.copyIncludes(t.Context(), "ns", nil, includes); !errors.Is(err, pack.ErrLimit) {
		t.Errorf("a folder and a file 101 times: got %v", err)
	}
}
