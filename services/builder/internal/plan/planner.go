package plan

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/builder/internal/objects"
)

// Fields that Kustomizations and HelmReleases are indexed by.
const (
	// bySource holds kind/namespace/name of the source.
	bySource = "builder.source"
	// byConfig holds kind/namespace/name of each ConfigMap and Secret that
	// variables, values and decryption keys come from.
	byConfig = "builder.config"
)

// Planner sends checks.
type Planner struct {
	// Affected says which of the keys' builds may give something else with a new
	// artifact than with the one before; nil takes all for affected.
	Affected func(ctx context.Context, changed events.SourceChanged, keys []events.Key) map[events.Key]bool
	// AgeSecret has the decryption keys of Kustomizations that name none; nil when
	// there is none.
	AgeSecret *client.ObjectKey

	bus     *bus.Bus
	cluster string
	log     *slog.Logger
	client  client.Client

	mu      sync.Mutex
	watched map[string]bool
}

// New returns a Planner for the builds of a cluster; a nil log drops.
func New(b *bus.Bus, cluster string, log *slog.Logger) *Planner {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Planner{bus: b, cluster: cluster, log: log, watched: map[string]bool{}}
}

// Watched says whether sources of a kind are watched, so that the cache has them.
func (p *Planner) Watched(kind string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.watched[kind]
}

func (p *Planner) watches(kind string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched[kind] = true
}

// All checks every Kustomization and HelmRelease.
func (p *Planner) All(ctx context.Context, reason string) error {
	var list kustomizev1.KustomizationList
	if err := p.client.List(ctx, &list); err != nil {
		return fmt.Errorf("list Kustomizations: %w", err)
	}
	var releases helmv2.HelmReleaseList
	if err := p.client.List(ctx, &releases); err != nil {
		return fmt.Errorf("list HelmReleases: %w", err)
	}
	note := bus.Note{Reason: reason}
	return p.bus.Check(ctx, append(targets(list.Items, note), releaseTargets(releases.Items, note)...)...)
}

// Resync checks everything each time the bus says that it lost streams.
func (p *Planner) Resync(ctx context.Context, recovered <-chan struct{}) error {
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-recovered:
		case <-retry.C:
		case <-ctx.Done():
			return nil
		}
		if err := p.All(ctx, "resync"); err != nil {
			p.log.Warn("checking all objects again failed, trying again", "err", err)
			retry.Reset(time.Second)
		}
	}
}

// dependents lists the Kustomizations that an index field points to value.
func (p *Planner) dependents(ctx context.Context, field, value string) ([]kustomizev1.Kustomization, error) {
	var list kustomizev1.KustomizationList
	if err := p.client.List(ctx, &list, client.MatchingFields{field: value}); err != nil {
		return nil, fmt.Errorf("list Kustomizations of %s: %w", value, err)
	}
	return list.Items, nil
}

func targets(items []kustomizev1.Kustomization, note bus.Note) []bus.Target {
	out := make([]bus.Target, len(items))
	for i := range items {
		out[i] = bus.Target{Stage: events.StageBuild, Key: keyOf(&items[i]), Note: note}
	}
	return out
}

// releases lists the HelmReleases that an index field points to value.
func (p *Planner) releases(ctx context.Context, field, value string) ([]helmv2.HelmRelease, error) {
	var list helmv2.HelmReleaseList
	if err := p.client.List(ctx, &list, client.MatchingFields{field: value}); err != nil {
		return nil, fmt.Errorf("list HelmReleases of %s: %w", value, err)
	}
	return list.Items, nil
}

func releaseTargets(items []helmv2.HelmRelease, note bus.Note) []bus.Target {
	out := make([]bus.Target, len(items))
	for i := range items {
		out[i] = bus.Target{Stage: events.StageBuild, Key: releaseKey(&items[i]), Note: note}
	}
	return out
}

func releaseKey(o client.Object) events.Key {
	return events.NewKey(helmv2.HelmReleaseKind, o.GetNamespace(), o.GetName())
}

func keyOf(o client.Object) events.Key {
	return events.NewKey(kustomizev1.KustomizationKind, o.GetNamespace(), o.GetName())
}

// index tells the cache what Kustomizations and HelmReleases are looked up by.
func (p *Planner) index(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &kustomizev1.Kustomization{}, bySource, func(o client.Object) []string {
		ks, ok := o.(*kustomizev1.Kustomization)
		if !ok {
			return nil
		}
		return []string{objects.SourceKey(ks).String()}
	})
	if err == nil {
		err = indexer.IndexField(ctx, &kustomizev1.Kustomization{}, byConfig, p.configsOf)
	}
	if err != nil {
		return fmt.Errorf("index Kustomizations: %w", err)
	}
	for field, values := range map[string]func(*helmv2.HelmRelease) []string{
		bySource: func(hr *helmv2.HelmRelease) []string { return []string{objects.ChartKey(hr).String()} },
		byConfig: valuesOf,
	} {
		err := indexer.IndexField(ctx, &helmv2.HelmRelease{}, field, func(o client.Object) []string {
			hr, ok := o.(*helmv2.HelmRelease)
			if !ok {
				return nil
			}
			return values(hr)
		})
		if err != nil {
			return fmt.Errorf("index HelmReleases: %w", err)
		}
	}
	return nil
}

func valuesOf(hr *helmv2.HelmRelease) []string {
	var out []string
	for _, ref := range hr.Spec.ValuesFrom {
		out = append(out, events.NewKey(ref.Kind, hr.Namespace, ref.Name).String())
	}
	return out
}

func (p *Planner) configsOf(o client.Object) []string {
	ks, ok := o.(*kustomizev1.Kustomization)
	if !ok {
		return nil
	}
	var out []string
	if name, ok := objects.KeySecret(ks, p.AgeSecret); ok {
		out = append(out, events.NewKey("Secret", name.Namespace, name.Name).String())
	}
	if ks.Spec.PostBuild == nil {
		return out
	}
	for _, ref := range ks.Spec.PostBuild.SubstituteFrom {
		out = append(out, events.NewKey(ref.Kind, ks.Namespace, ref.Name).String())
	}
	return out
}
