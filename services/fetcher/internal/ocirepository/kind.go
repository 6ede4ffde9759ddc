// Package ocirepository is the kind OCIRepository: a layer of an artifact in an OCI
// registry as an artifact of the pipeline.
package ocirepository

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/verify"
)

const (
	defaultTimeout = time.Minute
	// chartLayer is the media type of Helm's packages, whose tags have _ for +.
	chartLayer = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

	// maxAnnotations bounds those of a manifest, which the status of the object repeats: with more than some hundred KiB
	// no API server takes it.
	maxAnnotations = 64 << 10

	// annotatedSource tells where an artifact was made from (OCI image specification), beside source.OriginRevision.
	annotatedSource = "org.opencontainers.image.source"
)

// Config of the kind. All of it is required.
type Config struct {
	// Limits of one artifact.
	Limits pack.Limits
	// Scratch is a folder for layers while they are read.
	Scratch string
	// Identities are asked for logins where no Secret holds any.
	Identities *identity.Client
}

// Kind implements source.Kind.
type Kind struct {
	registries *oci.Client
	live       client.Reader
	verifier   *verify.Verifier
	config     Config
}

// New returns the kind. It reads Secrets and service accounts from live.
func New(registries *oci.Client, live client.Reader, verifier *verify.Verifier, config Config) *Kind {
	return &Kind{registries: registries, live: live, verifier: verifier, config: config}
}

// Name implements source.Kind.
func (*Kind) Name() string { return strings.ToLower(sourcev1.OCIRepositoryKind) }

// New implements source.Kind.
func (*Kind) New() source.Object { return &sourcev1.OCIRepository{} }

// List implements source.Kind.
func (*Kind) List() client.ObjectList { return &sourcev1.OCIRepositoryList{} }

// State implements source.Kind.
func (*Kind) State(obj source.Object) source.State {
	o := obj.(*sourcev1.OCIRepository)
	timeout := defaultTimeout
	if o.Spec.Timeout != nil && o.Spec.Timeout.Duration > 0 {
		timeout = o.Spec.Timeout.Duration
	}
	return source.State{
		Suspend: o.Spec.Suspend, Interval: o.Spec.Interval.Duration, Timeout: timeout,
		Conditions: &o.Status.Conditions, ObservedGeneration: &o.Status.ObservedGeneration,
		Handled: &o.Status.LastHandledReconcileAt, Artifact: &o.Status.Artifact, Host: source.HostOf(o.Spec.URL),
		Road: source.RoadOf(o.Spec.ServiceAccountName, o.Spec.SecretRef, o.Spec.CertSecretRef, o.Spec.ProxySecretRef),
		URL:  &o.Status.URL, Link: "latest.tar.gz",
	}
}

// Needs implements source.Kind: the object is made from no other.
func (*Kind) Needs(source.Object) []events.Key { return nil }

// Observe implements source.Kind.
func (*Kind) Observe(obj source.Object) {
	o := obj.(*sourcev1.OCIRepository)
	o.Status.ObservedIgnore, o.Status.ObservedLayerSelector = o.Spec.Ignore, o.Spec.LayerSelector
}

// Open implements source.Kind. It asks for the digest of the tag, and downloads nothing.
func (k *Kind) Open(ctx context.Context, _ events.Key, obj source.Object) (*source.Upstream, error) {
	o := obj.(*sourcev1.OCIRepository)
	access, err := k.access(ctx, o)
	if err != nil {
		return nil, err
	}
	repository, err := k.registries.Open(ctx, o.Spec.URL, access)
	if err != nil {
		return nil, unopened(o, err)
	}
	tag, digest, err := resolve(ctx, o, repository)
	if err != nil {
		return nil, err
	}
	revision := digest
	if tag != "" {
		revision = tag + "@" + digest
	}
	if err := k.verify(ctx, o, repository, revision, digest); err != nil {
		return nil, err
	}
	upstream := &source.Upstream{
		Revision: revision, News: fmt.Sprintf("new revision '%s' for '%s'", revision, o.Spec.URL),
		Fetch: func(ctx context.Context) (*source.Content, error) {
			return k.fetch(ctx, o, repository, revision, digest)
		},
	}
	switch {
	case !equality.Semantic.DeepEqual(o.Status.ObservedIgnore, o.Spec.Ignore):
		upstream.Changed = "ignore rules changed"
	case !equality.Semantic.DeepEqual(o.Status.ObservedLayerSelector, o.Spec.LayerSelector):
		upstream.Changed = "layer selector changed"
	}
	return upstream, nil
}

func unopened(o *sourcev1.OCIRepository, err error) error {
	var invalid *oci.InvalidURLError
	if errors.As(err, &invalid) {
		return source.Stalled(sourcev1.URLInvalidReason, fmt.Errorf("URL validation failed for '%s': %w", o.Spec.URL, err))
	}
	return source.AuthenticationFailed(fmt.Errorf("failed to configure authentication options: %w", err))
}

// resolve returns the tag, "" for a reference by digest, and the digest that it names.
func resolve(ctx context.Context, o *sourcev1.OCIRepository, repository *oci.Repository) (tag, digest string, err error) {
	ref := sourcev1.OCIRepositoryRef{}
	if o.Spec.Reference != nil {
		ref = *o.Spec.Reference
	}
	tag = ref.Tag
	switch {
	case ref.Digest != "":
		if _, err := v1.NewHash(ref.Digest); err != nil {
			return "", "", source.FetchFailed(sourcev1.OCIPullFailedReason, fmt.Errorf("failed to determine artifact digest: spec.ref.digest: %w", err))
		}
		return "", ref.Digest, nil
	case ref.SemVer != "":
		tags, err := repository.Tags(ctx)
		if err == nil {
			tag, err = oci.Highest(ctx, tags, ref.SemVer, ref.SemverFilter, o.GetLayerMediaType() == chartLayer)
		}
		if err != nil {
			return "", "", source.FetchFailed(sourcev1.ReadOperationFailedReason,
				fmt.Errorf("failed to determine the artifact tag for '%s': %w", o.Spec.URL, source.Cause(ctx, err)))
		}
	case tag == "":
		tag = "latest"
	}
	if digest, err = repository.Digest(ctx, tag); err != nil {
		return "", "", source.FetchFailed(sourcev1.OCIPullFailedReason, fmt.Errorf("failed to determine artifact digest: %w", source.Cause(ctx, err)))
	}
	return tag, digest, nil
}

func (k *Kind) fetch(ctx context.Context, o *sourcev1.OCIRepository, repository *oci.Repository, revision, digest string) (*source.Content, error) {
	var layer *oci.LayerError
	pulled, err := repository.Pull(ctx, digest, o.GetLayerMediaType(), oci.Limits{Bytes: k.config.Limits.Bytes, Annotations: maxAnnotations})
	switch {
	case errors.As(err, &layer):
		return nil, unreadable(ctx, err)
	case err != nil:
		return nil, source.FetchFailed(sourcev1.OCIPullFailedReason, fmt.Errorf("failed to pull artifact from '%s': %w", o.Spec.URL, source.Cause(ctx, err)))
	}
	annotations := maps.Clone(pulled.Value.Annotations)
	content := &source.Content{
		Message: "stored artifact for digest '" + revision + "'", Metadata: annotations,
		File: digest + ".tar.gz", Told: told(revision, o.Spec.URL, annotations),
	}
	body, err := pulled.Value.Open()
	if err != nil {
		pulled.Close()
		return nil, unreadable(ctx, err)
	}
	done := func() {
		_ = body.Close() // it is only read from
		pulled.Close()
	}
	if o.GetLayerOperation() == sourcev1.OCILayerCopy {
		content.Raw, content.Close = body, done
		return content, nil
	}
	defer done()
	unpacked, err := pack.Unpack(ctx, body, k.config.Scratch, k.config.Limits)
	if err != nil {
		return nil, unreadable(ctx, fmt.Errorf("failed to extract layer contents from artifact: %w", err))
	}
	content.Close = func() { _ = unpacked.Close() } // it is only read from
	content.Files = unpacked.Files
	if content.Ignore, err = pack.ReadIgnore(unpacked.Files, o.Spec.Ignore); err != nil {
		content.Close()
		return nil, source.StorageFailed("SourceIgnoreError", err)
	}
	return content, nil
}

func unreadable(ctx context.Context, err error) error {
	return source.FetchFailed(sourcev1.OCILayerOperationFailedReason, source.Cause(ctx, err))
}

// told is the text of the Kubernetes Event.
func told(revision, location string, annotations map[string]string) string {
	text := fmt.Sprintf("stored artifact with revision '%s' from '%s'", revision, location)
	if origin := annotations[annotatedSource]; origin != "" {
		text += ", origin source '" + origin + "'"
	}
	if origin := annotations[source.OriginRevision]; origin != "" {
		text += ", origin revision '" + origin + "'"
	}
	return text
}
