package handle

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
	"github.com/sluice-gitops/sluice/services/builder/internal/decrypt"
	"github.com/sluice-gitops/sluice/services/builder/internal/helm"
	"github.com/sluice-gitops/sluice/services/builder/internal/objects"
	"github.com/sluice-gitops/sluice/services/builder/internal/workspace"
)

// The parts a Handler works with.
type (
	reader interface {
		Kustomization(ctx context.Context, key events.Key, live bool) (*kustomizev1.Kustomization, error)
		Source(ctx context.Context, ks *kustomizev1.Kustomization, live bool) (objects.Source, error)
		Variables(ctx context.Context, ks *kustomizev1.Kustomization) ([]map[string]string, error)
		DecryptionKeys(ctx context.Context, ks *kustomizev1.Kustomization) (decrypt.Keys, error)
		HelmRelease(ctx context.Context, key events.Key, live bool) (*helmv2.HelmRelease, error)
		Chart(ctx context.Context, hr *helmv2.HelmRelease, live bool) (objects.Source, error)
		Values(ctx context.Context, hr *helmv2.HelmRelease) (helm.Values, error)
	}
	eventLog interface {
		Open(ctx context.Context, subject string) (*bus.Log, error)
		History(ctx context.Context, subject string) ([]event.Event, error)
		Forget(ctx context.Context, stage events.Stage, key events.Key) error
		Check(ctx context.Context, targets ...bus.Target) error
	}
	bucket interface {
		Get(ctx context.Context, name, wantDigest string, limit int64) ([]byte, error)
		Put(ctx context.Context, name string, body []byte, digest string) error
		Replace(ctx context.Context, name string, body []byte, digest string) error
		Touch(ctx context.Context, name string, limit int64) error
		Delete(ctx context.Context, name string) error
		List(ctx context.Context, prefix string) ([]blob.Object, error)
	}
	trees interface {
		Open(ctx context.Context, name, digest string) (*workspace.Lease, error)
	}
	builder interface {
		Build(ctx context.Context, tenant string, tree *artifact.Tree, spec *kustomizev1.KustomizationSpec, in build.Inputs, timeout time.Duration) (build.Output, error)
		Release(ctx context.Context, tenant string, tree *artifact.Tree, q helm.Request, timeout time.Duration) (build.Output, error)
	}
	target interface {
		Cluster(ctx context.Context) (helm.Cluster, error)
		Remote(ctx context.Context, ring *seal.Keyring, id seal.Identity) (helm.Cluster, error)
		Previous(ctx context.Context, ring *seal.Keyring, id seal.Identity) (*render.Previous, error)
		Lookup(ctx context.Context, ring *seal.Keyring, id seal.Identity, lookups []render.Lookup) ([]render.Found, error)
	}
	keyring interface {
		Keyring(ctx context.Context) (*seal.Keyring, error)
	}
)

// Parts are what a Handler works with; all are required.
type Parts struct {
	Objects reader
	Log     eventLog
	Bucket  bucket
	Trees   trees
	Builder builder
	Keys    keyring
	Target  target
}

// Config configures a Handler.
type Config struct {
	// Cluster is where renders go.
	Cluster string
	// Live reads Kustomizations and sources from the API server although watches
	// know them: needed when checks are sent by another process's watches.
	Live bool
	// NoCrossNamespaceRefs refuses sources of other namespaces.
	NoCrossNamespaceRefs bool
	// ExternalArtifacts allows sources of kind ExternalArtifact.
	ExternalArtifacts bool
	// MaxBuild bounds a build whatever the spec says; 5 minutes when zero.
	MaxBuild time.Duration
	// JitterPercent spreads intervals, both ways.
	JitterPercent int
	// Logger is told about every build; dropped when nil.
	Logger *slog.Logger
	// Metrics count builds; nil counts nothing.
	Metrics *Metrics
}

// Handler works on checks. It is safe for concurrent use for different keys.
type Handler struct {
	Parts
	config Config
	memory *memory
}

// New returns a Handler.
func New(p Parts, c Config) *Handler {
	if c.MaxBuild <= 0 {
		c.MaxBuild = 5 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Handler{Parts: p, config: c, memory: newMemory()}
}

// Handle works on one check of a Kustomization or a HelmRelease.
func (h *Handler) Handle(ctx context.Context, check bus.Check) (bus.Result, error) {
	log, err := h.Log.Open(ctx, events.BuildSubject(h.config.Cluster, check.Key))
	if err != nil {
		return bus.Result{}, err
	}
	ring, err := h.Keys.Keyring(ctx)
	if err != nil {
		return bus.Result{}, err
	}
	j := &job{Handler: h, key: check.Key, log: log, ring: ring, started: time.Now()}
	if check.Key.Kind == releaseKind {
		j.kind = helmv2.HelmReleaseKind
		return h.release(ctx, j, check.Note)
	}
	j.kind = kustomizev1.KustomizationKind
	return h.kustomization(ctx, j, check.Note)
}

// releaseKind is HelmRelease as keys spell it.
var releaseKind = events.NewKey(helmv2.HelmReleaseKind, "", "").Kind

// Forget drops what this process remembers of an object that is gone.
func (h *Handler) Forget(key events.Key) { h.memory.drop(key) }

// forget removes what belongs to an object that is gone. Its events stay.
func (h *Handler) forget(ctx context.Context, key events.Key) error {
	h.Forget(key)
	renders, err := h.Bucket.List(ctx, rendersOf(h.config.Cluster, key))
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range renders {
		errs = append(errs, h.Bucket.Delete(ctx, r.Name))
	}
	return errors.Join(append(errs, h.Log.Forget(ctx, events.StageBuild, key))...)
}
