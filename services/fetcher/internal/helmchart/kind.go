// Package helmchart is the kind HelmChart: a chart of a Helm repository, or in the
// artifact of another source, as an artifact of its own.
package helmchart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartindex"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartrepo"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/verify"
)

const (
	// timeout bounds a pass: a chart has no timeout of its own, and one with
	// dependencies asks many servers. Each request to a repository has that one's.
	timeout = 5 * time.Minute
	// unready is how long a source without an artifact is waited for, if nothing tells
	// earlier that it has one.
	unready = 30 * time.Second
)

// repositories reads Helm repositories over HTTP.
type repositories interface {
	Table(ctx context.Context, r chartrepo.Repository) (*chartindex.Index, error)
	Chart(ctx context.Context, r chartrepo.Repository, v chartindex.Version) ([]byte, error)
}

// Config of the kind. All of it is required.
type Config struct {
	// Limits of what a source's artifact holds.
	Limits pack.Limits
	// MaxChart and MaxFile bound a package and one file of a chart, in bytes.
	MaxChart, MaxFile int64
	// Scratch is a folder for artifacts while they are read.
	Scratch string
	// Tables keeps the indexes that were read.
	Tables *chartindex.Tables
	// Artifact opens a stored artifact of another source; what it reads is verified
	// when the end is reached.
	Artifact func(ctx context.Context, key events.Key, digest string) (io.ReadCloser, error)
	// Identities are asked for logins to registries where no Secret holds any.
	Identities *identity.Client
}

// Kind implements source.Kind.
type Kind struct {
	repositories repositories
	registries   *oci.Client
	live         client.Reader
	verifier     *verify.Verifier
	config       Config
}

// New returns the kind. It reads sources and Secrets from live.
func New(repositories *chartrepo.Client, registries *oci.Client, live client.Reader, verifier *verify.Verifier, config Config) *Kind {
	return &Kind{repositories: repositories, registries: registries, live: live, verifier: verifier, config: config}
}

// Name implements source.Kind.
func (*Kind) Name() string { return strings.ToLower(sourcev1.HelmChartKind) }

// New implements source.Kind.
func (*Kind) New() source.Object { return &sourcev1.HelmChart{} }

// List implements source.Kind.
func (*Kind) List() client.ObjectList { return &sourcev1.HelmChartList{} }

// State implements source.Kind.
func (*Kind) State(obj source.Object) source.State {
	o := obj.(*sourcev1.HelmChart)
	return source.State{
		Suspend: o.Spec.Suspend, Interval: o.Spec.Interval.Duration, Timeout: timeout,
		Conditions: &o.Status.Conditions, ObservedGeneration: &o.Status.ObservedGeneration,
		Handled: &o.Status.LastHandledReconcileAt, Artifact: &o.Status.Artifact,
		URL: &o.Status.URL, Link: "latest.tar.gz", Via: sourceOf(o),
		Negative: []string{sourcev1.BuildFailedCondition},
	}
}

// Needs implements source.Kind: it names the source that the chart is in.
func (*Kind) Needs(obj source.Object) []events.Key {
	return []events.Key{sourceOf(obj.(*sourcev1.HelmChart))}
}

func sourceOf(o *sourcev1.HelmChart) events.Key {
	return events.NewKey(o.Spec.SourceRef.Kind, o.Namespace, o.Spec.SourceRef.Name)
}

// Observe implements source.Kind: what there is to note is noted with the artifact.
func (*Kind) Observe(source.Object) {}

// Open implements source.Kind. It finds the version of the chart: in the index of a
// repository, without a download, or in the artifact of another source.
func (k *Kind) Open(ctx context.Context, _ events.Key, obj source.Object) (*source.Upstream, error) {
	o := obj.(*sourcev1.HelmChart)
	if o.Spec.Verify == nil {
		kube.Conditions{List: &o.Status.Conditions, Generation: o.Generation}.Remove(sourcev1.SourceVerifiedCondition)
	}
	var from from
	var err error
	switch o.Spec.SourceRef.Kind {
	case sourcev1.HelmRepositoryKind:
		from, err = k.fromRepository(ctx, o)
	case sourcev1.GitRepositoryKind:
		s := &sourcev1.GitRepository{}
		from, err = k.fromSource(ctx, o, s, func() *meta.Artifact { return s.Status.Artifact })
	case sourcev1.BucketKind:
		s := &sourcev1.Bucket{}
		from, err = k.fromSource(ctx, o, s, func() *meta.Artifact { return s.Status.Artifact })
	default:
		err = source.Stalled("UnsupportedSourceKind", fmt.Errorf("failed to get source: kind '%s' is not supported: use HelmRepository, GitRepository or Bucket", o.Spec.SourceRef.Kind))
	}
	if err != nil {
		return nil, err
	}
	found, err := from.find(ctx)
	if err != nil {
		return nil, errors.Join(err, from.close())
	}
	upstream := &source.Upstream{
		Revision: found.version, Reason: "NewChart", News: "new " + found.String(),
		Fetch: func(ctx context.Context) (*source.Content, error) { return k.fetch(ctx, o, from, found) },
		Close: from.close,
	}
	switch artifact := o.Status.Artifact; {
	case artifact == nil || artifact.Revision != found.version:
	case o.Status.ObservedChartName != found.name:
		upstream.Changed, upstream.Outdated = upstream.News, upstream.Reason
	case !built(o):
		upstream.Changed = "the HelmChart changed"
	}
	return upstream, nil
}

// from is where a chart comes from.
type from interface {
	// find says which chart there is, with the version that its artifact is to have.
	find(ctx context.Context) (found, error)
	// make returns that chart as its artifact.
	make(ctx context.Context, f found) (made, error)
	close() error
}

// found names a chart.
type found struct{ name, version string }

// String is how messages name it.
func (f found) String() string { return fmt.Sprintf("'%s' chart with version '%s'", f.name, f.version) }

// made is a chart as it becomes an artifact.
type made struct {
	found
	// archive is a package that is stored as it is; nil when files are packed.
	archive io.Reader
	files   []pack.File
	// values are the values files that were merged.
	values []string
}

func (k *Kind) fetch(ctx context.Context, o *sourcev1.HelmChart, from from, f found) (*source.Content, error) {
	m, err := from.make(ctx, f)
	if err != nil {
		return nil, err
	}
	content := &source.Content{
		File: m.name + "-" + m.version + ".tgz", Raw: m.archive, Files: m.files,
		Reason: sourcev1.ChartPullSucceededReason, Message: "pulled " + m.String(),
		Stored: func() { o.Status.ObservedChartName, o.Status.ObservedValuesFiles = f.name, m.values },
	}
	if m.archive == nil {
		content.Reason, content.Message = sourcev1.ChartPackageSucceededReason, "packaged "+m.String()
	}
	if len(m.values) > 0 {
		content.Message += " and merged values files ['" + strings.Join(m.values, "','") + "']"
	}
	return content, nil
}

// read reads the source of a chart.
func (k *Kind) read(ctx context.Context, o *sourcev1.HelmChart, into client.Object) error {
	err := k.live.Get(ctx, types.NamespacedName{Namespace: o.Namespace, Name: o.Spec.SourceRef.Name}, into)
	switch {
	case apierrors.IsNotFound(err):
		return source.FetchFailed("SourceUnavailable", fmt.Errorf("failed to get source: %w", err))
	case err != nil:
		return source.FetchFailed("SourceUnavailable", fmt.Errorf("failed to get source: %w", source.Cause(ctx, err)))
	}
	return nil
}

// noArtifact says that the source has none yet.
func noArtifact(o *sourcev1.HelmChart) error {
	failure := source.FetchFailed("NoSourceArtifact", fmt.Errorf("no artifact available for %s source '%s'", o.Spec.SourceRef.Kind, o.Spec.SourceRef.Name))
	failure.Wait = unready
	return failure
}

// metadata is the build metadata that the version of a changed chart gets: what of
// the source's revision, and which generation of the object.
func metadata(o *sourcev1.HelmChart, revision string) string {
	var parts []string
	if o.Spec.ReconcileStrategy == sourcev1.ReconcileStrategyRevision && revision != "" {
		hash := revision[strings.LastIndex(revision, ":")+1:]
		parts = append(parts, hash[:min(len(hash), 12)])
	}
	if len(valuesFiles(o)) > 0 {
		parts = append(parts, strconv.FormatInt(o.Generation, 10))
	}
	return strings.Join(parts, ".")
}

// built says that the artifact was built for this very spec, or was seen to be what it asks
// for. The observed generation does not: passes that stalled observe it too.
func built(o *sourcev1.HelmChart) bool {
	stored := apimeta.FindStatusCondition(o.Status.Conditions, sourcev1.ArtifactInStorageCondition)
	return stored != nil && stored.Status == metav1.ConditionTrue && stored.ObservedGeneration == o.Generation
}

// settled says that the last pass over this very spec succeeded.
func settled(o *sourcev1.HelmChart) bool {
	return o.Status.Artifact != nil && o.Status.ObservedGeneration == o.Generation && apimeta.IsStatusConditionTrue(o.Status.Conditions, "Ready")
}
