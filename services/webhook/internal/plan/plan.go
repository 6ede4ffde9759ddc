package plan

import (
	"context"
	"errors"
	"fmt"
	"time"

	notificationv1 "github.com/fluxcd/notification-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/webhook/internal/receiver"
)

// Retries of what the API server could not do, as Flux spaces them.
const (
	minRetry = 750 * time.Millisecond
	maxRetry = 15 * time.Minute
)

// Planner writes the status of Receivers.
type Planner struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// Live asks the API server; the cache holds no Secrets.
	Live client.Reader
}

// Setup adds the planner to a manager.
func (p *Planner) Setup(m ctrl.Manager, concurrency int) error {
	unique := true
	err := ctrl.NewControllerManagedBy(m).Named("receiver").
		For(&notificationv1.Receiver{}, builder.WithPredicates(asked())).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrency, SkipNameValidation: &unique,
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetry, maxRetry),
		}).Complete(p)
	if err != nil {
		return fmt.Errorf("set up receiver planner: %w", err)
	}
	return nil
}

// asked passes changes of the spec, deletions and requests by annotation; a
// status written here wakes nobody.
func asked() predicate.Predicate {
	return predicate.Or[client.Object](
		predicate.GenerationChangedPredicate{},
		predicate.Funcs{
			UpdateFunc: func(e event.UpdateEvent) bool {
				return e.ObjectOld.GetAnnotations()[kube.RequestedAt] != e.ObjectNew.GetAnnotations()[kube.RequestedAt] ||
					e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
			},
		})
}

// Reconcile makes one pass over a Receiver.
func (p *Planner) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var r notificationv1.Receiver
	if err := p.Client.Get(ctx, request.NamespacedName, &r); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !r.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, p.finalize(ctx, &r)
	}
	if !controllerutil.ContainsFinalizer(&r, kube.Finalizer) {
		base := r.DeepCopy()
		controllerutil.AddFinalizer(&r, kube.Finalizer)
		if err := p.Client.Patch(ctx, &r, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
			return ctrl.Result{}, ignoreRace(fmt.Errorf("add finalizer to receiver %s: %w", request.NamespacedName, err))
		}
	}
	if r.Spec.Suspend {
		return ctrl.Result{}, nil
	}
	base := r.DeepCopy()
	result, failure := p.judge(ctx, &r)
	if at := r.Annotations[kube.RequestedAt]; at != "" {
		r.Status.SetLastHandledReconcileRequest(at)
	}
	if equality.Semantic.DeepEqual(base.Status, r.Status) {
		return result, failure
	}
	if err := p.Client.Status().Patch(ctx, &r, client.MergeFrom(base)); err != nil {
		return ctrl.Result{}, errors.Join(failure, ignoreRace(fmt.Errorf("write status of receiver %s: %w", request.NamespacedName, err)))
	}
	return result, failure
}

// judge sets the status of a Receiver. An error is what shall be tried again.
func (p *Planner) judge(ctx context.Context, r *notificationv1.Receiver) (ctrl.Result, error) {
	conditions := kube.Conditions{List: &r.Status.Conditions, Generation: r.Generation}
	if refusal := receiver.Refused(r); refusal != nil {
		r.Status.WebhookPath = ""
		r.Status.ObservedGeneration = r.Generation
		conditions.Stall(refusal.Reason, refusal.Message)
		return ctrl.Result{}, nil
	}
	token, err := receiver.Token(ctx, p.Live, r)
	if errors.Is(err, receiver.ErrToken) {
		r.Status.WebhookPath = ""
		conditions.Retry(notificationv1.TokenNotFoundReason, err.Error())
		return ctrl.Result{}, err
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	r.Status.WebhookPath = r.GetWebhookPath(token)
	r.Status.ObservedGeneration = r.Generation
	conditions.Succeed(kube.ReasonSucceeded, "Receiver initialized for path: "+r.Status.WebhookPath)
	return ctrl.Result{RequeueAfter: receiver.Interval(r)}, nil
}

func (p *Planner) finalize(ctx context.Context, r *notificationv1.Receiver) error {
	if !controllerutil.ContainsFinalizer(r, kube.Finalizer) {
		return nil
	}
	base := r.DeepCopy()
	controllerutil.RemoveFinalizer(r, kube.Finalizer)
	if err := p.Client.Patch(ctx, r, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return ignoreRace(fmt.Errorf("remove finalizer of receiver %s/%s: %w", r.Namespace, r.Name, err))
	}
	return nil
}

// ignoreRace drops the error of an object that went away meanwhile.
func ignoreRace(err error) error { return client.IgnoreNotFound(err) }
