package index

import (
	"context"
	"errors"
	"fmt"
	"sync"

	notificationv1 "github.com/fluxcd/notification-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/webhook/internal/receiver"
)

// preparer makes sure that the resources of a Receiver can be resolved without
// asking the API server.
type preparer interface {
	Prepare(ctx context.Context, resources []notificationv1.ReceiverResource) error
}

// Loader keeps an Index equal to the Receivers. Every replica runs one.
type Loader struct {
	// Cached reads what the watch has seen, Live asks the API server.
	Cached, Live client.Reader
	// Resources prepares the kinds that Receivers name.
	Resources preparer
	// Index is what is kept.
	Index *Index

	// one Receiver at a time, so that an older state never replaces a newer one
	mu sync.Mutex
}

// Load loads every Receiver that the watch has seen. Those that cannot be loaded
// are left to Reconcile, which tries again.
func (l *Loader) Load(ctx context.Context) error {
	var all notificationv1.ReceiverList
	if err := l.Cached.List(ctx, &all); err != nil {
		return fmt.Errorf("list receivers: %w", err)
	}
	var errs []error
	for _, r := range all.Items {
		if _, err := l.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&r)}); err != nil {
			errs = append(errs, fmt.Errorf("load receiver %s/%s: %w", r.Namespace, r.Name, err))
		}
	}
	l.Index.loaded.Store(true)
	return errors.Join(errs...)
}

// Setup adds the loader to a manager, whether or not the replica leads.
func (l *Loader) Setup(m ctrl.Manager) error {
	all := false
	unique := true
	err := ctrl.NewControllerManagedBy(m).Named("receiver-index").For(&notificationv1.Receiver{}).
		WithOptions(controller.Options{NeedLeaderElection: &all, SkipNameValidation: &unique}).
		Complete(l)
	if err != nil {
		return fmt.Errorf("set up receiver index: %w", err)
	}
	return nil
}

// Reconcile loads one Receiver. Secrets are read again at the Receiver's interval.
func (l *Loader) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var r notificationv1.Receiver
	if err := l.Cached.Get(ctx, request.NamespacedName, &r); err != nil {
		if client.IgnoreNotFound(err) == nil {
			l.Index.Remove(request.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !r.DeletionTimestamp.IsZero() || r.Status.WebhookPath == "" {
		l.Index.Remove(request.NamespacedName)
		return ctrl.Result{}, nil
	}
	route := Route{
		Receiver: request.NamespacedName, UID: r.UID, Path: r.Status.WebhookPath, Type: r.Spec.Type,
		Events: r.Spec.Events, Resources: r.Spec.Resources, Closed: closed(&r), Created: r.CreationTimestamp.Time,
	}
	if route.Closed != "" {
		l.Index.Put(route)
		return ctrl.Result{}, nil
	}
	token, err := receiver.Token(ctx, l.Live, &r)
	if errors.Is(err, receiver.ErrToken) {
		route.Closed = "its secret holds no token"
		l.Index.Put(route)
		return ctrl.Result{RequeueAfter: receiver.Interval(&r)}, nil
	}
	if err != nil {
		return ctrl.Result{}, err // what is known of the Receiver stays in force meanwhile
	}
	if err := l.Resources.Prepare(ctx, r.Spec.Resources); err != nil {
		return ctrl.Result{}, err
	}
	route.Token = token
	l.Index.Put(route)
	return ctrl.Result{RequeueAfter: receiver.Interval(&r)}, nil
}

// closed returns why a Receiver takes no deliveries, or nothing.
func closed(r *notificationv1.Receiver) string {
	switch {
	case r.Spec.Suspend:
		return "it is suspended"
	case receiver.Refused(r) != nil:
		return "its spec is not served"
	case !apimeta.IsStatusConditionTrue(r.Status.Conditions, kube.ConditionReady):
		return "it is not ready"
	}
	return ""
}
