package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
)

// shelf is a bucket that is also a ring whose seals are open.
type shelf map[string][]byte

func (s shelf) Get(_ context.Context, name, _ string, _ int64) ([]byte, error) {
	if body, ok := s[name]; ok {
		return body, nil
	}
	return nil, blob.ErrNotFound
}

func (s shelf) Replace(_ context.Context, name string, body []byte, _ string) error {
	s[name] = body
	return nil
}

func (s shelf) Delete(_ context.Context, name string) error {
	delete(s, name)
	return nil
}

func (shelf) Seal(_ seal.Identity, _ string, plain []byte) ([]byte, error) { return plain, nil }

func (shelf) Open(_ context.Context, _ seal.Identity, _ string, sealed []byte) ([]byte, error) {
	return sealed, nil
}

func TestWhatIsForgottenIsNotWritten(t *testing.T) {
	id := seal.Identity{Cluster: "here", Kind: "Kustomization", Namespace: "apps", Name: "shop"}
	objects := []livestate.Kept{{Digest: "d"}}
	for _, tt := range []struct {
		why  string
		kept []livestate.Kept
		want []livestate.Kept
	}{
		{"an owner that is known has its objects kept", []livestate.Kept{}, []livestate.Kept{}},
		{"one that was forgotten before the write leaves what there was", nil, objects},
	} {
		s := shelf{}
		store := New(s, s, slog.New(slog.DiscardHandler))
		store.Save(id, "", "render", func() []livestate.Kept { return objects })
		store.write(t.Context())
		store.Save(id, "", "render", func() []livestate.Kept { return tt.kept })
		store.write(t.Context())
		got, err := store.Load(t.Context(), id, "", "render")
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: kept %v, %v; want %v", tt.why, got, err, tt.want)
		}
		store.Drop(id)
		store.write(t.Context())
		if len(s) > 0 {
			t.Errorf("%s: a dropped snapshot is still there", tt.why)
		}
	}
}

// outage is a bucket that takes nothing while it is down.
type outage struct {
	shelf
	down bool
	mu   sync.Mutex // of the shelf
}

func (o *outage) Replace(ctx context.Context, name string, body []byte, digest string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return errors.New("connection refused")
	}
	return o.shelf.Replace(ctx, name, body, digest)
}

func TestOutageIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	bucket := &outage{shelf: shelf{}}
	store := New(bucket, bucket, slog.New(slog.NewTextHandler(&log, nil)))
	const owners = 50
	for range 2 { // outages
		for n := range owners {
			store.Save(seal.Identity{Name: fmt.Sprint(n)}, "", "render", func() []livestate.Kept { return []livestate.Kept{} })
		}
		bucket.down = true
		for range 10 {
			store.write(t.Context())
		}
		bucket.down = false
		store.write(t.Context())
		store.write(t.Context())
		if len(bucket.shelf) != owners {
			t.Errorf("%d snapshots were written after the outage", len(bucket.shelf))
		}
		warnings, ends := strings.Count(log.String(), "cannot keep the live table"), strings.Count(log.String(), "kept again")
		if warnings != 1 || ends != 1 || !strings.Contains(log.String(), "failed=50") {
			t.Errorf("%d warnings, %d ends of an outage:\n%.500s", warnings, ends, log.String())
		}
		log.Reset()
		clear(bucket.shelf)
	}
}
