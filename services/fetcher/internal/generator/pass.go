package generator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fluxcd/pkg/apis/meta"
	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
)

// pass is one look at one object.
type pass struct {
	*Kind
	// old is the object as it was read, written as the API server has it now, and obj as its status will be
	// written at the end.
	old, written, obj *generatorv1.ArtifactGenerator
}

// Handle makes the artifacts of the object of a check.
func (k *Kind) Handle(ctx context.Context, check bus.Check) (bus.Result, error) {
	var obj generatorv1.ArtifactGenerator
	err := k.Live.Get(ctx, types.NamespacedName{Namespace: check.Key.Namespace, Name: check.Key.Name}, &obj)
	switch {
	case apierrors.IsNotFound(err):
		k.said.Forget(check.Key)
		return bus.Result{Next: bus.Never}, k.Bus.Forget(ctx, events.StageFetch, check.Key)
	case err != nil:
		return bus.Result{}, fmt.Errorf("read %s: %w", check.Key, err)
	case !obj.DeletionTimestamp.IsZero():
		return bus.Result{Next: bus.Never}, k.finalize(ctx, &obj)
	case obj.IsDisabled():
		return bus.Result{Next: bus.Never}, nil
	}
	if err := k.adopt(ctx, &obj); err != nil {
		return bus.Result{}, err
	}
	p := &pass{Kind: k, old: &obj, written: &obj, obj: obj.DeepCopy()}
	return p.run(ctx, check)
}

func (p *pass) run(ctx context.Context, check bus.Check) (bus.Result, error) {
	var failed *failure
	if err := p.reconcile(ctx); err != nil {
		if ctx.Err() != nil {
			return bus.Result{}, context.Cause(ctx) // stopped, so nothing is known
		}
		failed = failureOf(err, meta.ReconciliationFailedReason)
	}
	p.conclude(failed)
	if err := p.save(ctx); err != nil {
		return bus.Result{}, err
	}
	p.announce(check, failed)
	switch {
	case failed == nil:
		return bus.Result{Next: p.obj.GetRequeueAfter()}, nil
	case failed.stalled:
		return bus.Result{Next: bus.Never}, nil
	case failed.wait > 0:
		return bus.Result{Next: failed.wait}, nil
	}
	return bus.Result{}, fmt.Errorf("%s: %w", failed.reason, failed.err)
}

// reconcile makes the artifacts, unless they are what sources and spec ask for.
func (p *pass) reconcile(ctx context.Context) (err error) {
	if err := p.check(p.obj); err != nil {
		return err
	}
	from, err := p.sources(ctx, p.obj)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	digest := from.digest()
	if intact, err := p.intact(ctx, digest); intact || err != nil {
		return err
	}
	if err := p.open(ctx, from); err != nil {
		return err
	}
	wanted, err := outputs(p.obj, from)
	if err != nil {
		return err
	}
	if err := p.name(ctx, wanted); err != nil {
		return err
	}
	var inventory []generatorv1.ExternalArtifactReference
	for _, out := range wanted {
		made, err := p.make(ctx, out, from)
		if err != nil {
			return err
		}
		p.made(made)
		inventory = append(inventory, made)
	}
	if err := p.prune(ctx, inventory); err != nil {
		return err
	}
	p.obj.Status.Inventory, p.obj.Status.ObservedSourcesDigest = inventory, digest
	return nil
}

// name writes into the inventory what is to be made, beside what was: wherever the pass ends, it is the object's then,
// and goes with it. What others made is not named.
func (p *pass) name(ctx context.Context, wanted []output) error {
	for _, out := range wanted {
		if slices.ContainsFunc(p.obj.Status.Inventory, named(out.Name)) {
			continue
		}
		switch now, err := p.external(ctx, out.Name); {
		case err != nil:
			return err
		case now != nil && !p.owns(now):
			continue
		}
		p.made(generatorv1.ExternalArtifactReference{Name: out.Name, Namespace: p.obj.Namespace})
	}
	return p.save(ctx)
}

// made puts an artifact into the inventory, in the place of what that had of its name.
func (p *pass) made(ref generatorv1.ExternalArtifactReference) {
	if at := slices.IndexFunc(p.obj.Status.Inventory, named(ref.Name)); at >= 0 {
		p.obj.Status.Inventory[at] = ref
		return
	}
	p.obj.Status.Inventory = append(p.obj.Status.Inventory, ref)
}

func named(name string) func(generatorv1.ExternalArtifactReference) bool {
	return func(ref generatorv1.ExternalArtifactReference) bool { return ref.Name == name }
}

// save writes the status if it changed, on the version that was written last.
func (p *pass) save(ctx context.Context) error {
	if equality.Semantic.DeepEqual(p.written.Status, p.obj.Status) {
		return nil
	}
	now := p.obj.DeepCopy()
	if err := p.Writer.Status().Patch(ctx, now, client.MergeFromWithOptions(p.written, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("write status of ArtifactGenerator '%s/%s': %w", p.obj.Namespace, p.obj.Name, err)
	}
	p.written = now
	return nil
}

// intact says that nothing has to be made: sources and spec are those of the last success,
// and what was made then is still there.
func (p *pass) intact(ctx context.Context, digest string) (bool, error) {
	ready := apimeta.FindStatusCondition(p.old.Status.Conditions, meta.ReadyCondition)
	if ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != p.old.Generation ||
		p.old.Status.ObservedSourcesDigest != digest || p.requested() {
		return false, nil
	}
	for _, ref := range p.old.Status.Inventory {
		if ok, err := p.stands(ctx, ref); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (p *pass) requested() bool {
	return p.old.Annotations[kube.RequestedAt] != p.old.Status.LastHandledReconcileAt
}

// conclude puts the outcome into the status.
func (p *pass) conclude(failed *failure) {
	if token := p.obj.Annotations[kube.RequestedAt]; token != "" {
		p.obj.Status.LastHandledReconcileAt = token
	}
	c := kube.Conditions{List: &p.obj.Status.Conditions, Generation: p.obj.Generation}
	switch {
	case failed == nil:
		c.Succeed(meta.SucceededReason, fmt.Sprintf("reconciliation succeeded, generated %d artifact(s)", len(p.obj.Status.Inventory)))
	case failed.stalled:
		c.Stall(failed.reason, message(failed))
	default:
		c.Retry(failed.reason, message(failed))
	}
}

func message(f *failure) string { return kube.Short(f.err.Error()) }

// announce writes the Kubernetes Event of the outcome, if there is news.
func (p *pass) announce(check bus.Check, failed *failure) {
	if failed == nil {
		p.said.Forget(check.Key)
		if !slices.Equal(p.old.Status.Inventory, p.obj.Status.Inventory) {
			p.Recorder.AnnotatedEventf(p.obj, nil, corev1.EventTypeNormal, meta.SucceededReason, "%s",
				apimeta.FindStatusCondition(p.obj.Status.Conditions, meta.ReadyCondition).Message)
		}
		return
	}
	if !p.said.News(check.Key, message(failed)) {
		return
	}
	p.Recorder.AnnotatedEventf(p.obj, nil, corev1.EventTypeWarning, failed.reason, "%s", message(failed))
	if failed.stalled || failed.wait > 0 { // what is tried again by the queue is logged there
		p.Logger.Error("cannot generate artifacts", "kind", check.Key.Kind, "namespace", check.Key.Namespace, "name", check.Key.Name,
			"reason", failed.reason, "error", message(failed))
	}
}

// adopt adds the finalizer to an object that has none.
func (k *Kind) adopt(ctx context.Context, obj *generatorv1.ArtifactGenerator) error {
	if controllerutil.ContainsFinalizer(obj, generatorv1.Finalizer) {
		return nil
	}
	return k.finalizer(ctx, obj, controllerutil.AddFinalizer)
}

// finalize deletes what was made for a deleted object and lets it go.
func (k *Kind) finalize(ctx context.Context, obj *generatorv1.ArtifactGenerator) error {
	if !controllerutil.ContainsFinalizer(obj, generatorv1.Finalizer) {
		return nil
	}
	p := &pass{Kind: k, old: obj, obj: obj}
	if err := p.prune(ctx, nil); err != nil {
		return err
	}
	return client.IgnoreNotFound(k.finalizer(ctx, obj, controllerutil.RemoveFinalizer))
}

func (k *Kind) finalizer(ctx context.Context, obj *generatorv1.ArtifactGenerator, edit func(client.Object, string) bool) error {
	before := obj.DeepCopy()
	edit(obj, generatorv1.Finalizer)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := k.Writer.Patch(ctx, obj, patch); err != nil {
		return fmt.Errorf("write finalizer of ArtifactGenerator %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	return nil
}
