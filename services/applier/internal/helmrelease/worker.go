package helmrelease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	eventrecord "k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/internal/share"
	"github.com/sluice-gitops/sluice/services/applier/internal/cel"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/keys"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// FieldOwner is the manager of what is written to HelmReleases and HelmCharts, Flux's.
const FieldOwner = client.FieldOwner("helm-controller")

// Bus is what the worker uses of the bus.
type Bus interface {
	Open(ctx context.Context, subject string) (*bus.Log, error)
	Check(ctx context.Context, targets ...bus.Target) error
	Forget(ctx context.Context, stage events.Stage, key events.Key) error
}

// snapshots are what is kept of live tables over restarts.
type snapshots interface {
	// Drop deletes the snapshot of an object that is gone; id needs no uid.
	Drop(id seal.Identity)
}

// Worker does the work of checks. All fields are required but Options.
type Worker struct {
	Bus Bus
	// Client writes; Live reads from the API server.
	Client client.Client
	Live   client.Reader
	// Watched says whether Client reads a kind of source from a watch.
	Watched   func(kind string) bool
	Places    Places
	Snapshots snapshots
	Keys      *keys.Ring
	Renders   *desired.Renders
	// Histories is the room of all releases' large histories (helmstore.NewRoom).
	Histories *share.Room
	CEL       *cel.Compiler
	Recorder  eventrecord.EventRecorder
	Log       *slog.Logger
	// Began is when this process did. An action that began before may have had nobody who worked on it.
	Began   time.Time
	Options Options

	written  written
	ahead    ahead
	defining clocks
	junk     helmstore.Ignored
}

// Options change how a worker decides.
type Options struct {
	// Cluster names the target cluster on the bus and in seals.
	Cluster string
	// DefaultServiceAccount is who HelmReleases act as that name no service account; empty
	// means the applier's own rights.
	DefaultServiceAccount string
	// NoCrossNamespaceRefs refuses charts of other namespaces, ExternalArtifacts allows
	// charts of that kind.
	NoCrossNamespaceRefs, ExternalArtifacts bool
	// AdditiveDependencyCheck asks for the built-in check of a dependency beside its readyExpr, which otherwise
	// replaces it.
	AdditiveDependencyCheck bool
	// Jitter is the share of an interval by which timers are spread.
	Jitter float64
}

// errLost says that the object changed since it was read.
var errLost = errors.New("the object changed since it was read")

// Handle does the work of one check. What another wrote in between is read again once; a
// second loss is left to a later check.
func (w *Worker) Handle(ctx context.Context, check bus.Check) (bus.Result, error) {
	told := map[string]bool{}
	result, err := w.once(ctx, check, false, told)
	if (errors.Is(err, errLost) || errors.Is(err, helmstore.ErrLost)) && ctx.Err() == nil {
		result, err = w.once(ctx, check, true, told)
	}
	if errors.Is(err, helmstore.ErrNoRoom) {
		return bus.Result{Next: cluster.BusyFor(err)}, nil
	}
	return result, err
}

// Forget drops what this process remembers of an object that does not exist any more.
func (w *Worker) Forget(name client.ObjectKey) {
	w.written.forget(name)
	w.Places.Forget(cluster.Owner{Namespace: name.Namespace, Name: name.Name})
}

// once makes a pass. told is what was said of the check so far, which is not said again.
func (w *Worker) once(ctx context.Context, check bus.Check, live bool, told map[string]bool) (bus.Result, error) {
	hr, err := w.read(ctx, client.ObjectKey{Namespace: check.Key.Namespace, Name: check.Key.Name}, live)
	if apierrors.IsNotFound(err) {
		w.Forget(client.ObjectKey{Namespace: check.Key.Namespace, Name: check.Key.Name})
		w.Snapshots.Drop(seal.Identity{
			Cluster: w.Options.Cluster, Kind: helmv2.HelmReleaseKind, Namespace: check.Key.Namespace, Name: check.Key.Name,
		})
		return bus.Result{Next: bus.Never}, w.Bus.Forget(ctx, events.StageApply, check.Key)
	}
	if err != nil {
		return bus.Result{}, fmt.Errorf("read HelmRelease %s/%s: %w", check.Key.Namespace, check.Key.Name, err)
	}
	p := &pass{Worker: w, key: check.Key, read: hr, hr: hr.DeepCopy(), told: told, log: w.logOf(hr)}
	defer p.close()
	switch {
	case !hr.DeletionTimestamp.IsZero():
		return p.remove(ctx)
	case hr.Spec.Suspend:
		return p.suspended(ctx)
	}
	if err := p.finalizer(ctx, controllerutil.AddFinalizer); err != nil {
		return bus.Result{}, err
	}
	leave, err := p.locate(ctx)
	defer leave()
	if none := noTarget(err); none != nil {
		return p.nowhere(ctx, none)
	}
	if errors.Is(err, cluster.ErrBusy) {
		return bus.Result{Next: cluster.BusyFor(err)}, nil
	}
	if err != nil {
		return bus.Result{}, err
	}
	return p.run(ctx)
}

// logOf is the log of what is done for an object.
func (w *Worker) logOf(hr *helmv2.HelmRelease) *slog.Logger {
	return w.Log.With("kind", "helmrelease", "namespace", hr.Namespace, "name", hr.Name, "cluster", w.Options.Cluster)
}

// pass is one pass over one object.
type pass struct {
	*Worker
	key events.Key
	// read is the object as the API server has it, hr as it will be.
	read, hr *helmv2.HelmRelease
	log      *slog.Logger

	// head is that of the newest render, once the pass has found the action under way, or what it
	// begins, to be of its inputs.
	head *seal.Head

	// forgets says that the uninstall under way makes room for another chart.
	forgets bool

	// told are the reasons and messages that were told already.
	told map[string]bool

	// lines say what an action that failed did last.
	lines   []string
	place   *Place
	account string
	client  *cluster.Client
	store   *helmstore.Store
	// manifests are those that the pass has read.
	manifests release.Manifests
}

// close gives back what the pass holds of the room of histories.
func (p *pass) close() {
	if p.store != nil {
		p.store.Close()
	}
}

// finalizer adds or removes the finalizer.
func (p *pass) finalizer(ctx context.Context, edit func(client.Object, string) bool) error {
	next := p.read.DeepCopy()
	if !edit(next, kube.Finalizer) {
		return nil
	}
	patch := client.MergeFromWithOptions(p.read, client.MergeFromWithOptimisticLock{})
	if err := p.Client.Patch(ctx, next, patch, FieldOwner); err != nil {
		return p.lost("write finalizer of", err)
	}
	status := p.hr.Status
	p.written.put(next)
	p.read, p.hr = next, next.DeepCopy()
	p.hr.Status = status
	return nil
}

// write writes the status, if it changed, on the version that was read. An inventory that it has no room for is left out:
// nothing depends on it, as the storage has all that was made.
func (p *pass) write(ctx context.Context) error {
	if equality.Semantic.DeepEqual(p.read.Status, p.hr.Status) {
		return nil
	}
	next := p.read.DeepCopy()
	next.Status = *p.hr.Status.DeepCopy()
	patch := client.MergeFromWithOptions(p.read, client.MergeFromWithOptimisticLock{})
	err := p.Client.Status().Patch(ctx, next, patch, FieldOwner)
	if list := p.hr.Status.Inventory; kube.TooLarge(err) && list != nil {
		p.tell(note{reason: "InventoryTooLarge", warning: true, message: fmt.Sprintf(
			"the status has no room to list %d objects: its inventory is left out", len(list.Entries))})
		p.hr.Status.Inventory = nil
		return p.write(ctx)
	}
	if err != nil {
		return p.lost("write status of", err)
	}
	p.written.put(next)
	p.read, p.hr = next, next.DeepCopy()
	return nil
}

func (p *pass) lost(verb string, err error) error {
	if apierrors.IsConflict(err) {
		err = errLost
	}
	return fmt.Errorf("%s HelmRelease %s/%s: %w", verb, p.hr.Namespace, p.hr.Name, err)
}

func (p *pass) conditions() kube.Conditions {
	return kube.Conditions{List: &p.hr.Status.Conditions, Generation: p.hr.Generation}
}
