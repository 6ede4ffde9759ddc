package oci

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/spool"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// Artifact is a layer of an artifact in a registry.
type Artifact struct {
	// Annotations of the manifest; may be nil. Do not change them.
	Annotations map[string]string

	content *spool.Spool
}

// Open returns the layer's content as it is in the registry.
func (a *Artifact) Open() (io.ReadSeekCloser, error) { return a.content.Reader() }

// drop deletes the content, which is scratch.
func (a *Artifact) drop() { _ = a.content.Close() }

// LayerError says that an artifact was found and its layer cannot be had.
type LayerError struct{ err error }

// Error implements error.
func (e *LayerError) Error() string { return e.err.Error() }

// Unwrap implements error.
func (e *LayerError) Unwrap() error { return e.err }

// Pull downloads the first layer with a media type, the first of all when it is empty, of the
// artifact with a digest. What is read is verified, and no larger than limit. The answer is
// to be closed.
func (r *Repository) Pull(ctx context.Context, digest, mediaType string, limit int64) (flight.Answer[*Artifact], error) {
	key, err := flight.KeyOf(r.access, digest, mediaType, limit)
	if err != nil {
		return flight.Answer[*Artifact]{}, err
	}
	// What a digest names does not change, so that any answer will do.
	return r.client.artifacts.Do(flight.Since(ctx, time.Time{}), key, func() (*Artifact, error) {
		return r.pull(ctx, digest, mediaType, limit)
	})
}

func (r *Repository) pull(ctx context.Context, digest, mediaType string, limit int64) (*Artifact, error) {
	image, err := r.image(transport.Streamed(ctx), digest) // the library bounds manifests
	if err != nil {
		return nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, &LayerError{fmt.Errorf("failed to parse artifact manifest: %w", err)}
	}
	layer, err := layerOf(image, mediaType)
	if err != nil {
		return nil, &LayerError{err}
	}
	body, err := layer.Compressed()
	if err != nil {
		return nil, &LayerError{fmt.Errorf("failed to get layer contents from artifact: %w", err)}
	}
	defer body.Close()
	artifact := &Artifact{Annotations: manifest.Annotations, content: spool.OnDisk(r.client.scratch)}
	n, err := io.Copy(artifact.content, io.LimitReader(body, limit+1))
	if err == nil && n > limit {
		err = tooLarge(limit)
	}
	if err != nil {
		artifact.drop()
		return nil, &LayerError{fmt.Errorf("failed to get layer contents from artifact: %w", err)}
	}
	return artifact, nil
}

func tooLarge(limit int64) error {
	return fmt.Errorf("it has more than the %d bytes that are allowed", limit)
}
