package shelf_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/s3server"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
)

// Who read the status a moment ago still finds what it named, however old that is.
func TestTidyKeepsWhatWasCurrent(t *testing.T) {
	server, err := s3server.Start(context.WithoutCancel(t.Context()), s3server.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	e := server.Endpoint()
	store, err := blob.Open(t.Context(), blob.Config{Endpoint: e.Addr, AccessKey: e.AccessKey, SecretKey: e.SecretKey, Region: e.Region, Bucket: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s := shelf.Shelf{Store: store, Scratch: t.TempDir(), Limits: pack.Limits{Entries: 10, Bytes: 1000}}
	key := events.NewKey("OCIRepository", "default", "app")
	was := ""
	for _, step := range []struct{ stored, kept string }{
		{"a", "a"}, {"b", "ab"}, {"c", "abc"},
		{"a", "abc"}, // rolled back
		{"d", "acd"},
		{"d", "acd"}, // built anew
		{"e", "cde"},
	} {
		result, err := s.Copy(t.Context(), key, strings.NewReader(step.stored), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Tidy(t.Context(), key, result.Digest, was, 2); err != nil {
			t.Fatal(err)
		}
		was = result.Digest
		kept := ""
		for _, content := range []string{"a", "b", "c", "d", "e"} {
			_, err := store.Stat(t.Context(), shelf.BlobName(key, blob.Digest([]byte(content))))
			if err != nil && !errors.Is(err, blob.ErrNotFound) {
				t.Fatal(err)
			}
			if err == nil {
				kept += content
			}
		}
		if kept != step.kept {
			t.Errorf("after %q there is %q, want %q", step.stored, kept, step.kept)
		}
	}
}
