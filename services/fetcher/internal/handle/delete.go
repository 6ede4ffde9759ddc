package handle

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// adopt adds the finalizer to an object that has none.
func (h *Handler) adopt(ctx context.Context, obj source.Object) error {
	if controllerutil.ContainsFinalizer(obj, kube.Finalizer) {
		return nil
	}
	before := obj.DeepCopyObject().(source.Object)
	controllerutil.AddFinalizer(obj, kube.Finalizer)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := h.cluster.Writer.Patch(ctx, obj, patch); err != nil {
		return fmt.Errorf("add finalizer: %w", err)
	}
	return nil
}

// finalize removes what belongs to a deleted object and lets it go. An object
// that never got the finalizer is left alone.
func (h *Handler) finalize(ctx context.Context, key events.Key, obj source.Object) error {
	if err := h.remove(ctx, key); err != nil {
		return err
	}
	if !controllerutil.ContainsFinalizer(obj, kube.Finalizer) {
		return nil
	}
	before := obj.DeepCopyObject().(source.Object)
	controllerutil.RemoveFinalizer(obj, kube.Finalizer)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := h.cluster.Writer.Patch(ctx, obj, patch); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove finalizer: %w", err)
	}
	return nil
}

// retire takes from an object what it had before it became static: artifact,
// status and finalizer.
func (h *Handler) retire(ctx context.Context, key events.Key, kind source.Kind, obj source.Object) error {
	state := kind.State(obj)
	if *state.Artifact == nil && len(*state.Conditions) == 0 && !controllerutil.ContainsFinalizer(obj, kube.Finalizer) {
		return nil
	}
	before := obj.DeepCopyObject().(source.Object)
	*state.Artifact, *state.Conditions, *state.ObservedGeneration = nil, nil, 0
	if state.URL != nil {
		*state.URL = ""
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := h.cluster.Writer.Status().Patch(ctx, obj, patch); err != nil {
		return fmt.Errorf("clear status of %s: %w", key, err)
	}
	return h.finalize(ctx, key, obj)
}

// Forget drops what this process remembers of a source that is gone.
func (h *Handler) Forget(key events.Key) { h.written.forget(key) }

// remove deletes a source's artifacts and forgets its timer.
func (h *Handler) remove(ctx context.Context, key events.Key) error {
	h.Forget(key)
	if err := h.shelf.Remove(ctx, key); err != nil {
		return err
	}
	if err := h.bus.Forget(ctx, events.StageFetch, key); err != nil {
		return fmt.Errorf("forget %s: %w", key, err)
	}
	return nil
}
