// Package helmrepository is the kind HelmRepository: the index of a repository over
// HTTP as an artifact. One of type oci has none: charts alone read it.
package helmrepository

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/docker/go-units"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartrepo"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// repositories reads Helm repositories.
type repositories interface {
	Index(ctx context.Context, r chartrepo.Repository, revision string) (*chartrepo.Index, error)
}

// Kind implements source.Kind.
type Kind struct {
	repositories repositories
	live         client.Reader
}

// New returns the kind. It reads Secrets from live.
func New(repositories *chartrepo.Client, live client.Reader) *Kind {
	return &Kind{repositories: repositories, live: live}
}

// Name implements source.Kind.
func (*Kind) Name() string { return strings.ToLower(sourcev1.HelmRepositoryKind) }

// New implements source.Kind.
func (*Kind) New() source.Object { return &sourcev1.HelmRepository{} }

// List implements source.Kind.
func (*Kind) List() client.ObjectList { return &sourcev1.HelmRepositoryList{} }

// State implements source.Kind.
func (*Kind) State(obj source.Object) source.State {
	o := obj.(*sourcev1.HelmRepository)
	return source.State{
		Suspend: o.Spec.Suspend, Interval: o.GetRequeueAfter(), Timeout: o.GetTimeout(),
		Conditions: &o.Status.Conditions, ObservedGeneration: &o.Status.ObservedGeneration,
		Handled: &o.Status.LastHandledReconcileAt, Artifact: &o.Status.Artifact, Host: source.HostOf(o.Spec.URL),
		Road: RoadOf(o),
		URL:  &o.Status.URL, Link: "index.yaml",
		Static: o.Spec.Type == sourcev1.HelmRepositoryTypeOCI,
	}
}

// Needs implements source.Kind: the object is made from no other.
func (*Kind) Needs(source.Object) []events.Key { return nil }

// Observe implements source.Kind: the status says no more than every kind's.
func (*Kind) Observe(source.Object) {}

// Open implements source.Kind. It reads the index, unless the server vouches that it
// is still the one of the artifact.
func (k *Kind) Open(ctx context.Context, _ events.Key, obj source.Object) (*source.Upstream, error) {
	o := obj.(*sourcev1.HelmRepository)
	repository, err := Access(ctx, k.live, o)
	if err != nil {
		return nil, err
	}
	revision := ""
	if o.Status.Artifact != nil {
		revision = o.Status.Artifact.Revision
	}
	index, err := k.repositories.Index(ctx, repository, revision)
	if err != nil {
		return nil, failed(ctx, err)
	}
	return &source.Upstream{
		Revision: index.Revision, News: "new index revision '" + index.Revision + "'",
		Fetch: func(ctx context.Context) (*source.Content, error) {
			return k.fetch(ctx, o, repository, index)
		},
		Close: index.Close,
	}, nil
}

// fetch reads the index that a server only vouched for, when the artifact is lost.
func (k *Kind) fetch(ctx context.Context, o *sourcev1.HelmRepository, repository chartrepo.Repository, index *chartrepo.Index) (*source.Content, error) {
	done := func() {}
	if index.JSON == nil {
		read, err := k.repositories.Index(ctx, repository, "")
		if err != nil {
			return nil, failed(ctx, err)
		}
		done = func() { _ = read.Close() } // it is only read from
		if read.Revision != index.Revision {
			done()
			return nil, failed(ctx, errors.New("the index changed while it was read"))
		}
		index = read
	}
	return &source.Content{
		File:    "index-" + strings.TrimPrefix(index.Revision, "sha256:") + ".yaml",
		Raw:     index.JSON,
		Message: "stored artifact: revision '" + index.Revision + "'",
		Told:    fmt.Sprintf("stored fetched index of size %s from '%s'", units.HumanSize(float64(index.Size)), o.Spec.URL),
		Close:   done,
	}, nil
}

func failed(ctx context.Context, err error) error {
	var bad *chartrepo.LoadError
	if errors.As(err, &bad) {
		return source.FetchFailed(sourcev1.IndexationFailedReason, fmt.Errorf("failed to load Helm repository from index YAML: %w", err))
	}
	return source.FetchFailed("Failed", fmt.Errorf("failed to fetch Helm repository index: %w", source.Cause(ctx, err)))
}
