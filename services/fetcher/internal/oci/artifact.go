package oci

import (
	"context"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

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

// Limits bound what is pulled.
type Limits struct {
	// Bytes is the most of a layer.
	Bytes int64
	// Annotations is the most bytes that the names and values of the manifest's have together; any number when zero.
	Annotations int
}

// Pull downloads the first layer with a media type, the first of all when it is empty, of the
// artifact with a digest. What is read is verified. The answer is to be closed.
func (r *Repository) Pull(ctx context.Context, digest, mediaType string, limits Limits) (flight.Answer[*Artifact], error) {
	key, err := flight.KeyOf(r.access, digest, mediaType, limits)
	if err != nil {
		return flight.Answer[*Artifact]{}, err
	}
	// What a digest names does not change, so that any answer will do.
	return r.client.artifacts.Do(flight.Since(ctx, time.Time{}), key, func() (*Artifact, error) {
		return r.pull(ctx, digest, mediaType, limits)
	})
}

func (r *Repository) pull(ctx context.Context, digest, mediaType string, limits Limits) (*Artifact, error) {
	image, err := r.image(ctx, digest)
	if err != nil {
		return nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, &LayerError{fmt.Errorf("failed to parse artifact manifest: %w", err)}
	}
	if size := sizeOf(manifest.Annotations); limits.Annotations > 0 && size > limits.Annotations {
		return nil, fmt.Errorf("the annotations of its manifest have %d bytes, more than the %d that a status has room for: push it again with less",
			size, limits.Annotations)
	}
	layer, err := layerOf(image, mediaType)
	if err != nil {
		return nil, &LayerError{err}
	}
	artifact := &Artifact{Annotations: manifest.Annotations, content: spool.OnDisk(r.client.scratch)}
	if err := r.download(ctx, layer, artifact.content, limits.Bytes); err != nil {
		artifact.drop()
		return nil, &LayerError{fmt.Errorf("failed to get layer contents from artifact: %w", err)}
	}
	return artifact, nil
}

// sizeOf is how many bytes names and values have.
func sizeOf(annotations map[string]string) int {
	size := 0
	for name, value := range annotations {
		size += len(name) + len(value)
	}
	return size
}

// download reads a layer from its own registry, whatever other places the manifest names.
func (r *Repository) download(ctx context.Context, layer v1.Layer, into io.Writer, limit int64) error {
	size, err := layer.Size() // as the manifest has it
	if err != nil {
		return err
	}
	if size > limit {
		return tooLarge(limit)
	}
	digest, err := layer.Digest()
	if err != nil {
		return err
	}
	body, err := r.blob(transport.Streamed(ctx), digest)
	if err != nil {
		return err
	}
	defer body.Close()
	n, err := io.Copy(into, io.LimitReader(body, limit+1))
	if err == nil && n > limit {
		err = tooLarge(limit)
	}
	return err
}

func tooLarge(limit int64) error {
	return fmt.Errorf("it has more than the %d bytes that are allowed", limit)
}
