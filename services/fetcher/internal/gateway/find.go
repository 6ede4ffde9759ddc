package gateway

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/fluxcd/pkg/apis/meta"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-gitops/sluice/events"
)

// Sources is what the gateway knows of sources.
type Sources struct {
	// Kinds are the kinds of sources, as they are in paths.
	Kinds []string
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
// artifacts, and then, at once if live, in the status as the API server has it now.
func (s Sources) Find(ctx context.Context, location string, live bool) (Artifact, error) {
	parts := strings.Split(location, "/")
	if len(parts) != 4 {
		return Artifact{}, ErrNotFound
	}
	key := events.Key{Kind: parts[0], Namespace: parts[1], Name: parts[2]}
	if !slices.Contains(s.Kinds, key.Kind) || len(validation.IsDNS1123Label(key.Namespace)) > 0 || len(validation.IsDNS1123Subdomain(key.Name)) > 0 {
		return Artifact{}, ErrNotFound // no object can have such a name
	}
	if !live {
		if found, err := s.current(ctx, key, location, false); err != nil || found.Blob != "" {
			return found, err
		}
		if found, err := s.earlier(ctx, key, location); err != nil || found.Blob != "" {
			return found, err
		}
	}
	if !s.Live.Allow() { // whoever asks for what is not there must not load the API server
		return Artifact{}, ErrBusy
	}
	found, err := s.current(ctx, key, location, true)
	if err == nil && found.Blob == "" {
		err = ErrNotFound
	}
	return found, err
}

// current returns the artifact of the status if it is served at the path.
func (s Sources) current(ctx context.Context, key events.Key, location string, live bool) (Artifact, error) {
	now, err := s.Current(ctx, key, live)
	if err != nil || now == nil || now.Path != location && !isLink(location) {
		return Artifact{}, err
	}
	return Artifact{Blob: s.Blob(key, now.Digest), Digest: now.Digest}, nil
}

// earlier returns the newest artifact that was published for the path.
func (s Sources) earlier(ctx context.Context, key events.Key, location string) (Artifact, error) {
	history, err := s.History(ctx, events.SourceSubject(key))
	if err != nil {
		return Artifact{}, fmt.Errorf("read earlier artifacts of %s: %w", key, err)
	}
	var found Artifact
	for _, e := range history {
		changed, err := events.Decode[events.SourceChanged](e)
		if err == nil && changed.Path == location {
			found = Artifact{Blob: s.Blob(key, changed.Digest), Digest: changed.Digest}
		}
	}
	return found, nil
}

// isLink says that a path stands for the newest artifact of a source, as status.url has it.
func isLink(location string) bool {
	file := path.Base(location)
	return file == "latest.tar.gz" || file == "index.yaml"
}
