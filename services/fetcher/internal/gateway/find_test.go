package gateway_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/fluxcd/pkg/apis/meta"
	"golang.org/x/time/rate"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/gateway"
)

func TestFind(t *testing.T) {
	const path = "gitrepository/apps/one/abc.tar.gz"
	has := &meta.Artifact{Path: path, Digest: "sha256:1"}
	other := &meta.Artifact{Path: "gitrepository/apps/one/older.tar.gz", Digest: "sha256:0"}
	for _, c := range []struct {
		reason, path string
		cached, live *meta.Artifact
		questions    int
		want         string
		err          error
	}{
		{"the cache has it", path, has, nil, 0, "sha256:1", nil},
		{"the newest one by its link", "gitrepository/apps/one/latest.tar.gz", has, nil, 0, "sha256:1", nil},
		{"the cache has an older one", path, other, has, 1, "sha256:1", nil},
		{"the cache has none yet", path, nil, has, 1, "sha256:1", nil},
		{"the newest one by its link, and the cache has none yet", "gitrepository/apps/one/latest.tar.gz", nil, has, 1, "sha256:1", nil},
		{"nobody has it", path, nil, nil, 1, "", gateway.ErrNotFound},
		{"nobody knows, and too many asked", path, nil, has, 0, "", gateway.ErrBusy},
		{"no path of an artifact", "x", nil, has, 1, "", gateway.ErrNotFound},
	} {
		t.Run(c.reason, func(t *testing.T) {
			found, err := gateway.Sources{
				Kinds: []string{"gitrepository"},
				Current: func(_ context.Context, _ events.Key, live bool) (*meta.Artifact, error) {
					if live {
						return c.live, nil
					}
					return c.cached, nil
				},
				History: func(context.Context, string) ([]event.Event, error) { return nil, nil },
				Blob:    func(_ events.Key, digest string) string { return "blob of " + digest },
				Live:    rate.NewLimiter(0, c.questions),
			}.Find(t.Context(), c.path, false)
			if !errors.Is(err, c.err) || found.Digest != c.want || (c.want != "" && found.Blob != "blob of "+c.want) {
				t.Errorf("%+v, error %v", found, err)
			}
		})
	}
}

// A path that no object can have is found out without asking anything, whatever it would be as a subject or a key.
func TestPathsOfNoObject(t *testing.T) {
	asked := 0
	s := gateway.Sources{
		Kinds: []string{"gitrepository"},
		Current: func(context.Context, events.Key, bool) (*meta.Artifact, error) {
			asked++
			return nil, nil
		},
		History: func(context.Context, string) ([]event.Event, error) {
			asked++
			return nil, nil
		},
		Blob: func(events.Key, string) string { return "" }, Live: rate.NewLimiter(1, 1),
	}
	for _, path := range []string{
		"*/*/*/x", "gitrepository/*/*/x", "gitrepository/apps/*/x", "gitrepository/apps/>/x", "gitrepository/apps/a b/x", "gitrepository/apps/a_b/x",
		"gitrepository/apps//x", "gitrepository//one/x", "gitrepository/a.b/one/x", "gitrepository/apps/One/x", "GitRepository/apps/one/x", "secret/apps/one/x", "/apps/one/x",
	} {
		for _, live := range []bool{false, true} {
			if _, err := s.Find(t.Context(), path, live); !errors.Is(err, gateway.ErrNotFound) || asked > 0 {
				t.Errorf("%s: got %v after %d questions, want none", path, err, asked)
			}
		}
	}
	if _, err := s.Find(t.Context(), "gitrepository/apps/one.two/x", false); !errors.Is(err, gateway.ErrNotFound) || asked != 3 {
		t.Errorf("got %v after %d questions, want all three", err, asked)
	}
}
