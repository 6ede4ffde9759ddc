package handle

import (
	"context"
	"errors"
	"fmt"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
)

// adopt adds the finalizer to an object that has none.
func (h *Handler) adopt(ctx context.Context, obj *sourcev1.GitRepository) error {
	if controllerutil.ContainsFinalizer(obj, kube.Finalizer) {
		return nil
	}
	before := obj.DeepCopy()
	controllerutil.AddFinalizer(obj, kube.Finalizer)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := h.cluster.Writer.Patch(ctx, obj, patch); err != nil {
		return fmt.Errorf("add finalizer: %w", err)
	}
	return nil
}

// finalize removes what belongs to a deleted object and lets it go. An object
// that never got the finalizer is left alone.
func (h *Handler) finalize(ctx context.Context, key events.Key, obj *sourcev1.GitRepository) error {
	if err := h.remove(ctx, key); err != nil {
		return err
	}
	if !controllerutil.ContainsFinalizer(obj, kube.Finalizer) {
		return nil
	}
	before := obj.DeepCopy()
	controllerutil.RemoveFinalizer(obj, kube.Finalizer)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := h.cluster.Writer.Patch(ctx, obj, patch); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove finalizer: %w", err)
	}
	return nil
}

// remove deletes a source's artifacts and forgets its timer.
func (h *Handler) remove(ctx context.Context, key events.Key) error {
	objects, err := h.blobs.List(ctx, Prefix(key))
	if err != nil {
		return fmt.Errorf("remove artifacts of %s: %w", key, err)
	}
	var errs []error
	for _, object := range objects {
		errs = append(errs, h.blobs.Delete(ctx, object.Name))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove artifacts of %s: %w", key, err)
	}
	if err := h.bus.Forget(ctx, events.StageFetch, key); err != nil {
		return fmt.Errorf("forget %s: %w", key, err)
	}
	return nil
}
