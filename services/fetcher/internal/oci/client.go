package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/authn/kubernetes"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	registry "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// Scheme begins the URL of a repository in a spec.
const Scheme = "oci://"

// Access is how a registry is read.
type Access struct {
	// Insecure allows plain HTTP. Without TLS data, certificates are not checked then.
	Insecure bool
	// TLS is the data of a certSecretRef, and Proxy that of a proxySecretRef; may be nil.
	TLS, Proxy map[string][]byte
	// PullSecrets hold logins, of type kubernetes.io/dockerconfigjson.
	PullSecrets []corev1.Secret
	// Login is used when no pull secret knows the registry; may be nil.
	Login authn.Authenticator
}

// InvalidURLError says that a URL names no repository.
type InvalidURLError struct{ err error }

// Error implements error.
func (e *InvalidURLError) Error() string { return e.err.Error() }

// AccessError says that Secrets are of no use.
type AccessError struct{ err error }

// Error implements error.
func (e *AccessError) Error() string { return e.err.Error() }

// Unwrap implements error.
func (e *AccessError) Unwrap() error { return e.err }

// Client opens repositories. It is safe for concurrent use.
type Client struct {
	scratch string
	quiet   *transport.Quiet
	doors   transport.Clients[*door]

	digests   flight.Group[string]
	tags      flight.Group[[]string]
	artifacts flight.Group[*Artifact]
	manifests flight.Group[Manifest]
	blobs     flight.Group[[]byte]
	referrers flight.Group[[]v1.Descriptor]
}

// New returns a client. scratch is a folder for what is read, and quiet knows which
// servers want no request.
func New(scratch string, quiet *transport.Quiet) *Client {
	return &Client{
		scratch: scratch, quiet: quiet, digests: flight.Group[string]{Keep: flight.Keep}, tags: flight.Group[[]string]{Keep: flight.Keep},
		artifacts: flight.Group[*Artifact]{Keep: flight.Keep, Drop: (*Artifact).drop},
		manifests: flight.Group[Manifest]{Keep: flight.Keep}, blobs: flight.Group[[]byte]{Keep: flight.Keep},
		referrers: flight.Group[[]v1.Descriptor]{Keep: flight.Keep},
	}
}

// Repository is a repository of a registry. Those who open it with the same access share
// what is asked and what is downloaded at the same time.
type Repository struct {
	client *Client
	door   *door
	name   name.Repository
	// access is equal for the same repository and the same access.
	access flight.Key
}

// named is a digest behind the name of a repository.
var named = regexp.MustCompile(`^@[a-z0-9]+:[0-9a-f]+$`)

// Open returns the repository that a URL of the form oci://<host>/<path> names, without
// a request. A tag or digest in it is an *InvalidURLError, and Secrets of no use are an
// *AccessError.
func (c *Client) Open(ctx context.Context, location string, a Access) (*Repository, error) {
	var options []name.Option
	if a.Insecure {
		options = append(options, name.Insecure)
	}
	path := strings.TrimPrefix(location, Scheme)
	if login, _, ok := strings.Cut(path, "@"); ok && !named.MatchString(path[len(login):]) {
		return nil, &InvalidURLError{err: errors.New("it has a login, which spec.secretRef is for: remove it, and all of it before the host")}
	}
	parsed, err := name.NewRepository(path, options...)
	if err != nil {
		return nil, &InvalidURLError{err: err}
	}
	r := &Repository{client: c, name: parsed}
	if err := r.connect(ctx, a); err != nil {
		return nil, &AccessError{err: err}
	}
	return r, nil
}

func (r *Repository) connect(ctx context.Context, a Access) error {
	keychain, err := kubernetes.NewFromPullSecrets(ctx, a.PullSecrets)
	if err != nil {
		return fmt.Errorf("read image pull secrets: %w", err)
	}
	login, err := keychain.Resolve(r.name)
	if err != nil {
		return fmt.Errorf("read image pull secrets: %w", err)
	}
	if login == authn.Anonymous && a.Login != nil {
		login = a.Login
	}
	config, err := login.Authorization()
	if err != nil {
		return fmt.Errorf("read image pull secrets: %w", err)
	}
	scope := []any{r.name.Name(), a.Insecure, a.TLS, a.Proxy, config.Username, config.Password, config.Auth, config.IdentityToken, config.RegistryToken}
	if r.access, err = flight.KeyOf(scope...); err != nil {
		return err
	}
	road, err := a.road(*config)
	if err != nil {
		return err
	}
	r.door, err = r.client.doors.Get(scope, a.transport, func(via http.RoundTripper) (*door, error) {
		return &door{via: r.client.quiet.Over(road, via), login: login}, nil
	})
	return err
}

// road is how the registry is asked, with a login.
func (a Access) road(login authn.AuthConfig) (transport.Road, error) {
	road, err := transport.RoadOf(a.TLS, a.Proxy)
	road.User, road.Password, road.Token = login.Username, login.Password, login.Auth+login.IdentityToken+login.RegistryToken
	return road, err
}

func (a Access) transport() (*http.Transport, error) {
	made, err := transport.FromData(a.TLS, a.Proxy)
	if err == nil && a.TLS == nil && a.Insecure {
		made.TLSClientConfig.InsecureSkipVerify = true // spec.insecure asks for it
	}
	return made, err
}

// Name is the repository's name with its host.
func (r *Repository) Name() string { return r.name.Name() }

// Digest returns the digest that a tag names, sha256:<hex>.
func (r *Repository) Digest(ctx context.Context, tag string) (string, error) {
	if _, err := name.NewTag(r.name.Name() + ":" + tag); err != nil {
		return "", err
	}
	key, err := flight.KeyOf(r.access, tag)
	if err != nil {
		return "", err
	}
	answer, err := r.client.digests.Do(ctx, key, func() (string, error) {
		found, err := r.head(ctx, tag)
		if err != nil {
			return "", err
		}
		return found.Digest.String(), nil
	})
	return answer.Value, err
}

// head asks for what a tag names. A refusal of HEAD says nothing of why: with GET the registry gives its own words, or the
// digest if it knows no HEAD.
func (r *Repository) head(ctx context.Context, tag string) (*v1.Descriptor, error) {
	return through(r.door, func(p *remote.Puller) (*v1.Descriptor, error) {
		found, err := p.Head(ctx, r.name.Tag(tag))
		var refusal *registry.Error
		if !errors.As(err, &refusal) || len(refusal.Errors) > 0 || refusal.StatusCode == http.StatusTooManyRequests || refusal.StatusCode >= http.StatusInternalServerError {
			return found, err
		}
		whole, err := p.Get(ctx, r.name.Tag(tag))
		if err != nil {
			return nil, err
		}
		return &whole.Descriptor, nil
	})
}

// Tags returns all tags. Do not change them.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	answer, err := r.client.tags.Do(ctx, r.access, func() ([]string, error) { return r.list(ctx) })
	return answer.Value, err
}

// maxTags bounds how many tags of a repository are looked at, and maxTagBytes how many bytes they have together.
const (
	maxTags     = 1_000_000
	maxTagBytes = 64 << 20
)

func (r *Repository) list(ctx context.Context) ([]string, error) {
	pages, err := through(r.door, func(p *remote.Puller) (*remote.Lister, error) { return p.Lister(ctx, r.name) })
	if err != nil {
		return nil, err
	}
	var tags []string
	size := 0
	for pages.HasNext() {
		page, err := pages.Next(ctx)
		if err != nil {
			return nil, err
		}
		for _, tag := range page.Tags {
			size += len(tag)
		}
		if tags = append(tags, page.Tags...); len(tags) > maxTags || size > maxTagBytes {
			return nil, fmt.Errorf("the repository has more than the %d tags, or %d bytes of them, that are looked at: name a tag, or a digest", maxTags, maxTagBytes)
		}
	}
	return tags, nil
}

// image returns the artifact with a digest. What is read of it is verified.
func (r *Repository) image(ctx context.Context, digest string) (v1.Image, error) {
	if _, err := v1.NewHash(digest); err != nil {
		return nil, err
	}
	found, err := r.get(ctx, digest)
	if err != nil {
		return nil, err
	}
	return found.Image()
}

func (r *Repository) get(ctx context.Context, digest string) (*remote.Descriptor, error) {
	return through(r.door, func(p *remote.Puller) (*remote.Descriptor, error) { return p.Get(ctx, r.name.Digest(digest)) })
}

// ErrNoLayer says that an artifact has no layer such as is asked for.
var ErrNoLayer = errors.New("no layer")

// layerOf returns the first layer with a media type, the first of all when it is empty.
func layerOf(image v1.Image, mediaType string) (v1.Layer, error) {
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) == 0 {
		return nil, fmt.Errorf("%w: no layers found in artifact", ErrNoLayer)
	}
	if mediaType == "" {
		return layers[0], nil
	}
	for _, layer := range layers {
		if found, err := layer.MediaType(); err == nil && string(found) == mediaType {
			return layer, nil
		}
	}
	return nil, fmt.Errorf("%w: failed to find layer with media type '%s' in artifact", ErrNoLayer, mediaType)
}

// Manifest describes an artifact, or a signature of one.
type Manifest struct {
	v1.Manifest

	// MediaType and Size are those of the manifest itself.
	MediaType types.MediaType
	Size      int64
}

// Manifest returns the manifest with a digest, which is verified. Do not change it.
func (r *Repository) Manifest(ctx context.Context, digest string) (Manifest, error) {
	if _, err := v1.NewHash(digest); err != nil {
		return Manifest{}, err
	}
	key, err := flight.KeyOf(r.access, digest)
	if err != nil {
		return Manifest{}, err
	}
	answer, err := r.client.manifests.Do(flight.Since(ctx, time.Time{}), key, func() (Manifest, error) {
		found, err := r.get(ctx, digest)
		if err != nil {
			return Manifest{}, err
		}
		m := Manifest{MediaType: found.MediaType, Size: found.Size}
		if err := json.Unmarshal(found.Manifest, &m.Manifest); err != nil {
			return Manifest{}, fmt.Errorf("parse manifest %s: %w", digest, err)
		}
		return m, nil
	})
	return answer.Value, err
}

// Blob returns the blob with a digest, which is verified, and no larger than limit. Do not
// change it.
func (r *Repository) Blob(ctx context.Context, digest v1.Hash, limit int64) ([]byte, error) {
	key, err := flight.KeyOf(r.access, digest.String(), limit)
	if err != nil {
		return nil, err
	}
	answer, err := r.client.blobs.Do(flight.Since(ctx, time.Time{}), key, func() ([]byte, error) {
		body, err := r.blob(ctx, digest)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		data, err := io.ReadAll(io.LimitReader(body, limit+1))
		if err == nil && int64(len(data)) > limit {
			err = tooLarge(limit)
		}
		return data, err
	})
	return answer.Value, err
}

// blob opens the blob with a digest, which is verified.
func (r *Repository) blob(ctx context.Context, digest v1.Hash) (io.ReadCloser, error) {
	layer, err := through(r.door, func(p *remote.Puller) (v1.Layer, error) { return p.Layer(ctx, r.name.Digest(digest.String())) })
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}

// Referrers returns the manifests that refer to an artifact. Do not change them.
func (r *Repository) Referrers(ctx context.Context, digest string) ([]v1.Descriptor, error) {
	key, err := flight.KeyOf(r.access, digest)
	if err != nil {
		return nil, err
	}
	answer, err := r.client.referrers.Do(ctx, key, func() ([]v1.Descriptor, error) {
		index, err := through(r.door, func(p *remote.Puller) (v1.ImageIndex, error) {
			return remote.Referrers(r.name.Digest(digest), remote.WithContext(ctx), remote.Reuse(p))
		})
		if err != nil {
			return nil, err
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			return nil, err
		}
		return manifest.Manifests, nil
	})
	return answer.Value, err
}
