package gateway

import (
	"context"
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/fluxcd/pkg/apis/meta"
	"golang.org/x/time/rate"

	"github.com/sluice-gitops/sluice/events"
)

// Sources is what the gateway knows of sources.
type Sources struct {
	// Current returns the artifact in a source's status, from the API server if
	// live; nil if there is none, or no such source.
	Current func(ctx context.Context, key events.Key, live bool) (*meta.Artifact, error)
	// History returns the retained events of a subject, oldest first.
	History func(ctx context.Context, subject string) ([]event.Event, error)
	// Live bounds the questions to the API server.
	Live *rate.Limiter
	// Blob is the name of an artifact with a digest.
	Blob func(key events.Key, digest string) string
}

// Find looks for an artifact in the status of its source, then among its earlier
// artifacts, and then in the status as the API server has it now.
func (s Sources) Find(ctx context.Context, path string) (Artifact, error) {
	parts := strings.Split(path, "/")
	if len(parts) != 4 {
		return Artifact{}, ErrNotFound
	}
	key := events.Key{Kind: parts[0], Namespace: parts[1], Name: parts[2]}
	cached, err := s.Current(ctx, key, false)
	if err != nil {
		return Artifact{}, err
	}
	if cached != nil && (cached.Path == path || isLink(parts[3])) {
		return Artifact{Blob: s.Blob(key, cached.Digest), Digest: cached.Digest}, nil
	}
	if found, err := s.earlier(ctx, key, path); err != nil || found.Blob != "" {
		return found, err
	}
	if !s.Live.Allow() { // whoever asks for what is not there must not load the API server
		return Artifact{}, ErrBusy
	}
	now, err := s.Current(ctx, key, true)
	if err != nil {
		return Artifact{}, err
	}
	if now != nil && now.Path == path {
		return Artifact{Blob: s.Blob(key, now.Digest), Digest: now.Digest}, nil
	}
	return Artifact{}, ErrNotFound
}

// earlier returns the newest artifact that was published for the path.
func (s Sources) earlier(ctx context.Context, key events.Key, path string) (Artifact, error) {
	history, err := s.History(ctx, events.SourceSubject(key))
	if err != nil {
		return Artifact{}, fmt.Errorf("read earlier artifacts of %s: %w", key, err)
	}
	var found Artifact
	for _, e := range history {
		changed, err := events.Decode[events.SourceChanged](e)
		if err == nil && changed.Path == path {
			found = Artifact{Blob: s.Blob(key, changed.Digest), Digest: changed.Digest}
		}
	}
	return found, nil
}

// isLink says that a file name stands for the newest artifact of a source, as
// status.url has it.
func isLink(file string) bool { return file == "latest.tar.gz" || file == "index.yaml" }
