package claim

import (
	"context"
	"errors"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-gitops/sluice/internal/kube"
)

// ErrLost says that somebody else wrote the object since it was read: the pass
// must stop, and its check be done again from the newest state.
var ErrLost = errors.New("the object changed since it was read")

// ErrTooLarge says that the API server's store, which takes about 1.5 MiB, has no room for the object with its status.
var ErrTooLarge = errors.New("it has no room for that")

// FieldOwner is the manager of what an applier writes to a Kustomization.
const FieldOwner = client.FieldOwner("sluice-applier")

// Writer writes Kustomizations.
type Writer struct {
	client client.Client
	reader *Reader
}

// NewWriter returns a Writer whose writes reader sees at once.
func NewWriter(c client.Client, reader *Reader) *Writer {
	return &Writer{client: c, reader: reader}
}

// Status writes next's status over read's in one merge patch on read's
// resourceVersion and returns what the API server has now. Equal statuses send
// nothing. It returns ErrLost when read is not the newest any more, and ErrTooLarge when the status cannot be stored.
func (w *Writer) Status(ctx context.Context, read, next *kustomizev1.Kustomization) (*kustomizev1.Kustomization, error) {
	if equality.Semantic.DeepEqual(read.Status, next.Status) {
		return read, nil
	}
	written := read.DeepCopy()
	written.Status = *next.Status.DeepCopy()
	patch := client.MergeFromWithOptions(read, client.MergeFromWithOptimisticLock{})
	if err := w.client.Status().Patch(ctx, written, patch, FieldOwner); err != nil {
		return nil, w.fail("write status of", read, err)
	}
	w.reader.remember(written)
	return written, nil
}

// AddFinalizer adds the finalizer in one patch, unless it is there.
func (w *Writer) AddFinalizer(ctx context.Context, read *kustomizev1.Kustomization) (*kustomizev1.Kustomization, error) {
	return w.finalizer(ctx, read, "add finalizer to", controllerutil.AddFinalizer)
}

// RemoveFinalizer lets a deleted object go.
func (w *Writer) RemoveFinalizer(ctx context.Context, read *kustomizev1.Kustomization) error {
	_, err := w.finalizer(ctx, read, "remove finalizer from", controllerutil.RemoveFinalizer)
	w.reader.Forget(client.ObjectKeyFromObject(read))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (w *Writer) finalizer(ctx context.Context, read *kustomizev1.Kustomization, verb string, edit func(client.Object, string) bool) (*kustomizev1.Kustomization, error) {
	next := read.DeepCopy()
	if !edit(next, kube.Finalizer) {
		return read, nil
	}
	patch := client.MergeFromWithOptions(read, client.MergeFromWithOptimisticLock{})
	if err := w.client.Patch(ctx, next, patch, FieldOwner); err != nil {
		return nil, w.fail(verb, read, err)
	}
	w.reader.remember(next)
	return next, nil
}

// fail makes a lost race an ErrLost. What was remembered may be what is old, so
// it is forgotten.
func (w *Writer) fail(verb string, ks *kustomizev1.Kustomization, err error) error {
	name := client.ObjectKeyFromObject(ks)
	if apierrors.IsConflict(err) {
		w.reader.Forget(name)
		return fmt.Errorf("%s Kustomization %s: %w", verb, name, ErrLost)
	}
	if kube.TooLarge(err) {
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("%s Kustomization %s: %w", verb, name, err)
}
