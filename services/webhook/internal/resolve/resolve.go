package resolve

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	notificationv1 "github.com/fluxcd/notification-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
)

// syncTime bounds the wait for the first list of a kind.
const syncTime = 30 * time.Second

// Resolver finds the objects that Receivers name.
type Resolver struct {
	// Cache holds the metadata of the kinds that were prepared.
	Cache cache.Cache
	// SameNamespace refuses resources of other namespaces than the Receiver's.
	SameNamespace bool

	mu    sync.RWMutex
	known map[schema.GroupVersionKind]error
}

// Prepare starts to watch the kinds of resources and waits for the first list. A
// kind that the cluster does not have is remembered and reported by Resolve.
func (r *Resolver) Prepare(ctx context.Context, resources []notificationv1.ReceiverResource) error {
	for _, resource := range resources {
		kind, err := kindOf(resource)
		if err != nil || r.ready(kind) {
			continue
		}
		if err := r.watch(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

func (r *Resolver) ready(kind schema.GroupVersionKind) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	missing, found := r.known[kind]
	return found && missing == nil
}

func (r *Resolver) watch(ctx context.Context, kind schema.GroupVersionKind) error {
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	_, err := r.Cache.GetInformer(ctx, metadata(kind))
	if err != nil && !apimeta.IsNoMatchError(err) {
		return fmt.Errorf("watch %s: %w", kind, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[schema.GroupVersionKind]error{}
	}
	r.known[kind] = err
	return nil
}

// Resolve returns the keys of the objects that resources name, seen from a
// Receiver's namespace. What cannot be resolved is joined into the error; the
// keys of the rest are returned all the same.
func (r *Resolver) Resolve(ctx context.Context, namespace string, resources []notificationv1.ReceiverResource) ([]events.Key, error) {
	var keys []events.Key
	var errs []error
	seen := map[events.Key]bool{}
	for _, resource := range resources {
		found, err := r.one(ctx, namespace, resource)
		errs = append(errs, err)
		for _, key := range found {
			if !seen[key] {
				seen[key] = true
				keys = append(keys, key)
			}
		}
	}
	return keys, errors.Join(errs...)
}

func (r *Resolver) one(ctx context.Context, namespace string, resource notificationv1.ReceiverResource) ([]events.Key, error) {
	if resource.Namespace == "" {
		resource.Namespace = namespace
	}
	if r.SameNamespace && resource.Namespace != namespace {
		return nil, fmt.Errorf("can't access '%s/%s/%s', cross-namespace references have been blocked",
			resource.Kind, resource.Namespace, resource.Name)
	}
	kind, err := kindOf(resource)
	if err != nil {
		return nil, err
	}
	if !r.ready(kind) {
		return nil, fmt.Errorf("resolve %s %s/%s: the cluster has no kind %s in %s",
			resource.Kind, resource.Namespace, resource.Name, kind.Kind, kind.GroupVersion())
	}
	if resource.Name == "*" {
		return r.selected(ctx, kind, resource)
	}
	object := metadata(kind)
	if err := r.Cache.Get(ctx, types.NamespacedName{Namespace: resource.Namespace, Name: resource.Name}, object); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("resolve %s %s/%s: not found", resource.Kind, resource.Namespace, resource.Name)
		}
		return nil, fmt.Errorf("resolve %s %s/%s: %w", resource.Kind, resource.Namespace, resource.Name, err)
	}
	return []events.Key{events.NewKey(resource.Kind, resource.Namespace, resource.Name)}, nil
}

func (r *Resolver) selected(ctx context.Context, kind schema.GroupVersionKind, resource notificationv1.ReceiverResource) ([]events.Key, error) {
	if len(resource.MatchLabels) == 0 {
		return nil, fmt.Errorf("resolve %s %s/*: matchLabels must be set when the name is '*'", resource.Kind, resource.Namespace)
	}
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	err := r.Cache.List(ctx, &list, client.InNamespace(resource.Namespace), client.MatchingLabels(resource.MatchLabels))
	if err != nil {
		return nil, fmt.Errorf("list %s in %s: %w", resource.Kind, resource.Namespace, err)
	}
	keys := make([]events.Key, 0, len(list.Items))
	for _, item := range list.Items {
		keys = append(keys, events.NewKey(resource.Kind, item.Namespace, item.Name))
	}
	return keys, nil
}

func metadata(kind schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(kind)
	return object
}

// kindOf completes a kind whose apiVersion may be left out.
func kindOf(resource notificationv1.ReceiverResource) (schema.GroupVersionKind, error) {
	version := resource.APIVersion
	if version == "" {
		version = defaultVersion(resource.Kind)
	}
	if version == "" {
		return schema.GroupVersionKind{}, fmt.Errorf("resolve %s %s: apiVersion must be set for this kind", resource.Kind, resource.Name)
	}
	group, err := schema.ParseGroupVersion(version)
	if err != nil {
		return schema.GroupVersionKind{}, fmt.Errorf("resolve %s %s: %w", resource.Kind, resource.Name, err)
	}
	return group.WithKind(resource.Kind), nil
}

func defaultVersion(kind string) string {
	switch kind {
	case "Bucket", "HelmChart", "HelmRepository", "GitRepository", "OCIRepository":
		return "source.toolkit.fluxcd.io/v1"
	case "ImageRepository":
		return "image.toolkit.fluxcd.io/v1"
	case "ArtifactGenerator":
		return "source.extensions.fluxcd.io/v1beta1"
	}
	return ""
}
