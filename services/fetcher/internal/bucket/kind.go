// Package bucket is the kind Bucket: the objects of a bucket as an artifact.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

const (
	defaultTimeout = time.Minute
	reasonFailed   = sourcev1.BucketOperationFailedReason
	// reasonSTS is that of a spec.sts that does not fit the rest.
	reasonSTS = "InvalidSTSConfiguration"
)

// Config of the kind. All of it is required.
type Config struct {
	// Limits of one artifact.
	Limits pack.Limits
	// Dir holds the objects of each bucket as they were downloaded last.
	Dir string
	// Identities are asked for credentials where no Secret holds any.
	Identities *identity.Client
	// Quiet knows which servers want no request.
	Quiet *transport.Quiet
}

// Kind implements source.Kind.
type Kind struct {
	live    client.Reader
	config  Config
	clients transport.Clients[store]
	// listings are shared by Buckets that ask for the same with equal logins.
	listings flight.Group[listing]
}

// New returns the kind. It reads Secrets from live.
func New(live client.Reader, config Config) *Kind {
	return &Kind{live: live, config: config, listings: flight.Group[listing]{Keep: flight.Keep}}
}

// Name implements source.Kind.
func (*Kind) Name() string { return strings.ToLower(sourcev1.BucketKind) }

// New implements source.Kind.
func (*Kind) New() source.Object { return &sourcev1.Bucket{} }

// List implements source.Kind.
func (*Kind) List() client.ObjectList { return &sourcev1.BucketList{} }

// State implements source.Kind.
func (*Kind) State(obj source.Object) source.State {
	o := obj.(*sourcev1.Bucket)
	timeout := defaultTimeout
	if o.Spec.Timeout != nil && o.Spec.Timeout.Duration > 0 {
		timeout = o.Spec.Timeout.Duration
	}
	return source.State{
		Suspend: o.Spec.Suspend, Interval: o.Spec.Interval.Duration, Timeout: timeout,
		Conditions: &o.Status.Conditions, ObservedGeneration: &o.Status.ObservedGeneration,
		Handled: &o.Status.LastHandledReconcileAt, Artifact: &o.Status.Artifact, Host: host(o.Spec),
		Road: source.RoadOf(o.Spec.ServiceAccountName, o.Spec.SecretRef, o.Spec.CertSecretRef, o.Spec.ProxySecretRef),
		URL:  &o.Status.URL, Link: "latest.tar.gz",
	}
}

// Needs implements source.Kind: the object is made from no other.
func (*Kind) Needs(source.Object) []events.Key { return nil }

// Observe implements source.Kind.
func (*Kind) Observe(obj source.Object) {
	o := obj.(*sourcev1.Bucket)
	o.Status.ObservedIgnore = o.Spec.Ignore
}

// Open implements source.Kind. It lists the objects, and downloads none but the ignore
// file.
func (k *Kind) Open(ctx context.Context, _ events.Key, obj source.Object) (*source.Upstream, error) {
	o := obj.(*sourcev1.Bucket)
	if err := k.renew(o); err != nil {
		return nil, failed(ctx, err)
	}
	from, err := k.connect(ctx, o)
	if err != nil {
		return nil, err
	}
	index, err := k.index(ctx, o, from)
	if err != nil {
		return nil, failed(ctx, err)
	}
	upstream := &source.Upstream{
		Revision: index.revision,
		Fetch:    func(ctx context.Context) (*source.Content, error) { return k.fetch(ctx, o, from, index) },
	}
	if !equality.Semantic.DeepEqual(o.Status.ObservedIgnore, o.Spec.Ignore) {
		upstream.Changed = "ignore rules changed"
	}
	return upstream, nil
}

func (k *Kind) fetch(ctx context.Context, o *sourcev1.Bucket, from *connection, index *index) (*source.Content, error) {
	files, err := k.download(ctx, o, from, index)
	if err != nil {
		return nil, failed(ctx, fmt.Errorf("fetch from bucket '%s' failed: %w", o.Spec.BucketName, err))
	}
	return &source.Content{
		File: strings.TrimPrefix(index.revision, "sha256:") + ".tar.gz", Files: files,
		Message: "stored artifact: revision '" + index.revision + "'",
		Told:    fmt.Sprintf("stored artifact with %d fetched files from '%s' bucket", len(index.objects), o.Spec.BucketName),
	}, nil
}

func failed(ctx context.Context, err error) error {
	var known *source.Error
	if errors.As(err, &known) {
		return err
	}
	return source.FetchFailed(reasonFailed, source.Cause(ctx, err))
}

// host is the server that is asked.
func host(spec sourcev1.BucketSpec) string {
	if at, err := endpoint(spec); err == nil {
		return transport.HostOf(at)
	}
	return spec.Endpoint
}
