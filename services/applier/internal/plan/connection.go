package plan

import (
	"context"
	"fmt"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// The kinds that spec.kubeConfig refers to.
const (
	kindSecret    = "Secret"
	kindConfigMap = "ConfigMap"
)

// connectionOf indexes an object by what its spec.kubeConfig refers to.
func connectionOf(o client.Object) []string {
	var ref *fluxmeta.KubeConfigReference
	switch o := o.(type) {
	case *kustomizev1.Kustomization:
		ref = o.Spec.KubeConfig
	case *helmv2.HelmRelease:
		ref = o.Spec.KubeConfig
	}
	switch {
	case ref == nil:
		return nil
	case ref.SecretRef != nil:
		return []string{kindSecret + "/" + o.GetNamespace() + "/" + ref.SecretRef.Name}
	case ref.ConfigMapRef != nil:
		return []string{kindConfigMap + "/" + o.GetNamespace() + "/" + ref.ConfigMapRef.Name}
	}
	return nil
}

// watchConnections checks the Kustomizations and HelmReleases whose Secret or ConfigMap changed. The
// manager's cache says which are watched; only their metadata is.
func (p *Planner) watchConnections(mgr manager.Manager, c controller.TypedController[request]) error {
	for _, kind := range []string{kindSecret, kindConfigMap} {
		object := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: corev1.SchemeGroupVersion.String(), Kind: kind}}
		if err := c.Watch(source.TypedKind(mgr.GetCache(), object, p.connections(kind))); err != nil {
			return fmt.Errorf("watch kubeconfigs in %ss: %w", kind, err)
		}
	}
	return nil
}

func (p *Planner) connections(kind string) handler.TypedEventHandler[*metav1.PartialObjectMetadata, request] {
	concerned := func(ctx context.Context, o *metav1.PartialObjectMetadata, q queue) {
		value := kind + "/" + client.ObjectKeyFromObject(o).String()
		p.each(ctx, indexConnection, value, func(ks *kustomizev1.Kustomization) {
			q.Add(request{client.ObjectKeyFromObject(ks), ReasonCluster, kustomizev1.KustomizationKind})
		})
		p.eachRelease(ctx, indexConnection, value, func(hr *helmv2.HelmRelease) {
			q.Add(request{client.ObjectKeyFromObject(hr), ReasonCluster, helmv2.HelmReleaseKind})
		})
	}
	return handler.TypedFuncs[*metav1.PartialObjectMetadata, request]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*metav1.PartialObjectMetadata], q queue) {
			if !e.IsInInitialList {
				concerned(ctx, e.Object, q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*metav1.PartialObjectMetadata], q queue) {
			concerned(ctx, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*metav1.PartialObjectMetadata], q queue) {
			concerned(ctx, e.Object, q)
		},
	}
}
