package handle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/claim"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/depend"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/keys"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// Bus is what the worker uses of the bus.
type Bus interface {
	Open(ctx context.Context, subject string) (*bus.Log, error)
	Check(ctx context.Context, targets ...bus.Target) error
	Forget(ctx context.Context, stage events.Stage, key events.Key) error
}

// finalizer carries out the end of an object.
type finalizer interface {
	Finalize(ctx context.Context, ks *kustomizev1.Kustomization) (bus.Result, error)
	Forget(name types.NamespacedName)
}

// snapshots are what is kept of live tables over restarts.
type snapshots interface {
	// Drop deletes the snapshot of an object that is gone; id needs no uid.
	Drop(id seal.Identity)
}

// Worker does the work of checks. All fields are required but Options.
type Worker struct {
	Bus       Bus
	Reader    *claim.Reader
	Writer    *claim.Writer
	Sources   desired.Sources
	Depend    depend.Checker
	Keys      *keys.Ring
	Renders   *desired.Renders
	Targets   Targets
	Finalizer finalizer
	Snapshots snapshots
	Recorder  report.Recorder
	Log       *slog.Logger
	Options   Options

	patience patience
	changed  changed
	compared compared

	lingering lingering
	fights    fights

	said bus.Said
}

// Options change how a worker decides.
type Options struct {
	// Cluster names the target cluster on the bus and in seals.
	Cluster string
	// NoCrossNamespaceRefs refuses sources in another namespace.
	NoCrossNamespaceRefs bool
	// ExternalArtifacts allows sources of kind ExternalArtifact.
	ExternalArtifacts bool
	// Jitter is the share of an interval by which timers are spread, 0.05 when zero.
	Jitter float64
}

// The waits that Flux's users know.
const (
	retryDependency = 30 * time.Second
	retryBuild      = 30 * time.Second
	healthPoll      = 5 * time.Second
)

// watchedPoll is how often objects are looked at whose watches tell every change:
// for what only time changes, as how long a Pod was not scheduled, and for a replica
// that died with its watches.
const watchedPoll = 30 * time.Second

// Handle does the work of one check. A status that moved since it was read is
// read again once from the API server; a second loss is left to a later check.
func (w *Worker) Handle(ctx context.Context, check bus.Check) (bus.Result, error) {
	name := types.NamespacedName{Namespace: check.Key.Namespace, Name: check.Key.Name}
	log := w.Log.With("kind", check.Key.Kind, "namespace", name.Namespace, "name", name.Name, "cluster", w.Options.Cluster)
	ks, err := w.Reader.Get(ctx, name)
	if err != nil {
		return bus.Result{}, err
	}
	result, err := w.once(ctx, check, ks, log)
	if errors.Is(err, claim.ErrLost) && ctx.Err() == nil {
		log.Debug("reading again", "reason", err.Error())
		if ks, err = w.Reader.Live(ctx, name); err != nil {
			return bus.Result{}, err
		}
		result, err = w.once(ctx, check, ks, log)
	}
	return result, err
}

func (w *Worker) once(ctx context.Context, check bus.Check, ks *kustomizev1.Kustomization, log *slog.Logger) (bus.Result, error) {
	switch {
	case ks == nil:
		return w.gone(ctx, check.Key)
	case ks.Spec.Suspend && ks.DeletionTimestamp.IsZero():
		return bus.Result{Next: bus.Never}, nil
	}
	journal, err := report.Open(ctx, w.Bus, w.Options.Cluster, ks)
	if err != nil {
		return bus.Result{}, err
	}
	if ks, err = w.adopt(ctx, ks, journal); err != nil {
		return bus.Result{}, err
	}
	if !ks.DeletionTimestamp.IsZero() {
		w.patience.forget(check.Key)
		return w.Finalizer.Finalize(ctx, ks)
	}
	if ks, err = w.Writer.AddFinalizer(ctx, ks); err != nil {
		return bus.Result{}, err
	}
	p := &pass{Worker: w, check: check, ks: ks, journal: journal, log: log, started: time.Now()}
	target, leave, err := w.Targets.For(ctx, ks)
	switch {
	case errors.Is(err, cluster.ErrBusy):
		return bus.Result{Next: cluster.BusyFor(err)}, nil
	case errors.As(err, &p.lost): // what can be said without the cluster comes first
	case err != nil:
		return bus.Result{}, err
	default:
		p.Target = target
		defer leave()
	}
	defer p.close()
	result, err := p.run(ctx)
	switch {
	case errors.Is(err, desired.ErrNoRoom):
		return bus.Result{Next: cluster.BusyFor(err)}, nil
	case errors.As(err, &p.lost) && ctx.Err() == nil:
		p.Target = nil
		return p.noTarget(ctx)
	}
	return result, err
}

// adopt writes to the status what only the journal knows of an attempt that an applier
// began and never ended, because it died: that the cluster may have all of it, and what
// it may have made. Nothing is appended to the journal before, since it would hide that.
func (w *Worker) adopt(ctx context.Context, ks *kustomizev1.Kustomization, journal *report.Journal) (*kustomizev1.Kustomization, error) {
	id, revision := journal.Begun()
	made := inventory.Stale(journal.Made(), entries(ks))
	if good, _ := status.LastGood(ks); id == "" || id == good && len(made) == 0 {
		return ks, nil
	}
	next := ks.DeepCopy()
	status.Begin(next, status.Attempt{RenderID: id, Revision: revision, Started: time.Now()})
	setInventory(next, inventory.Merge(entries(ks), made))
	return w.Writer.Status(ctx, ks, next)
}

// Forget drops what this process remembers of an object that does not exist any more.
func (w *Worker) Forget(name types.NamespacedName) {
	key := events.NewKey(kustomizev1.KustomizationKind, name.Namespace, name.Name)
	w.patience.forget(key)
	w.changed.forget(key)
	w.compared.forget(key)
	w.lingering.take(key)
	w.fights.forget(key)
	w.said.Forget(key)
	w.Reader.Forget(name)
	w.Finalizer.Forget(name)
	w.Targets.Forget(cluster.Owner{Namespace: name.Namespace, Name: name.Name})
}

// gone ends what all processes share of an object that does not exist any more.
func (w *Worker) gone(ctx context.Context, key events.Key) (bus.Result, error) {
	w.Forget(types.NamespacedName{Namespace: key.Namespace, Name: key.Name})
	w.Snapshots.Drop(seal.Identity{Cluster: w.Options.Cluster, Kind: kustomizev1.KustomizationKind, Namespace: key.Namespace, Name: key.Name})
	if err := w.Bus.Forget(ctx, events.StageApply, key); err != nil {
		return bus.Result{}, fmt.Errorf("forget %s: %w", key, err)
	}
	return bus.Result{Next: bus.Never}, nil
}
