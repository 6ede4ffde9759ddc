package kube

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// OnDelete calls f with the name of each object of a kind that goes away while the cache runs, unless another one
// has the name by then. Every process with such a cache is told, so f drops what this one remembers; it must not
// block. OnDelete returns once the kind was listed, and fails when it cannot be watched.
func OnDelete(ctx context.Context, c cache.Cache, object client.Object, f func(types.NamespacedName)) error {
	informer, err := c.GetInformer(ctx, object)
	if err != nil {
		return fmt.Errorf("watch for deletions: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(gone any) {
		name, err := toolscache.DeletionHandlingObjectToName(gone)
		if err != nil {
			return // it is no object
		}
		key := types.NamespacedName{Namespace: name.Namespace, Name: name.Name}
		if apierrors.IsNotFound(c.Get(ctx, key, object.DeepCopyObject().(client.Object))) {
			f(key)
		}
	}})
	if err != nil {
		return fmt.Errorf("watch for deletions: %w", err)
	}
	return nil
}
