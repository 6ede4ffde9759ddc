package cluster

import (
	"cmp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// The labels that say which Kustomization an object belongs to.
const (
	OwnerNameLabel      = "kustomize.toolkit.fluxcd.io/name"
	OwnerNamespaceLabel = "kustomize.toolkit.fluxcd.io/namespace"
)

// Manager is the field manager of everything the applier writes. Flux's tools
// and Flux itself know it by this name.
const Manager = "kustomize-controller"

// Owner is the custom resource that an object belongs to.
type Owner struct {
	Namespace string
	Name      string
}

// String returns namespace/name.
func (o Owner) String() string { return o.Namespace + "/" + o.Name }

// Labels returns the labels that every object of the owner carries.
func (o Owner) Labels() map[string]string {
	return map[string]string{OwnerNameLabel: o.Name, OwnerNamespaceLabel: o.Namespace}
}

// OwnerOf returns the owner that an object's labels name; the zero Owner when they name none.
func OwnerOf(labels map[string]string) Owner {
	return Owner{Namespace: labels[OwnerNamespaceLabel], Name: labels[OwnerNameLabel]}
}

// Ref names an object in a cluster. Namespace is empty for a cluster-scoped object.
type Ref struct {
	Group     string
	Version   string
	Kind      string
	Namespace string
	Name      string
}

// Seen is an object that was looked at.
type Seen struct {
	Ref Ref
	// At is the resourceVersion that it had; empty when it was not there, or nobody looked.
	At string
}

// Unseen names objects that nobody looked at.
func Unseen(refs ...Ref) []Seen {
	var out []Seen
	for _, r := range refs {
		out = append(out, Seen{Ref: r})
	}
	return out
}

// RefOf returns the name of an object.
func RefOf(o *unstructured.Unstructured) Ref {
	return NewRef(o.GroupVersionKind(), o.GetNamespace(), o.GetName())
}

// NewRef returns the name of an object of a kind.
func NewRef(gvk schema.GroupVersionKind, namespace, name string) Ref {
	return Ref{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Namespace: namespace, Name: name}
}

// String returns Kind/namespace/name, or Kind/name for a cluster-scoped object.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + "/" + r.Name
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

// GVK returns the kind with group and version.
func (r Ref) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
}

// GroupKind returns the kind without its version.
func (r Ref) GroupKind() schema.GroupKind {
	return schema.GroupKind{Group: r.Group, Kind: r.Kind}
}

// APIVersion returns group/version as a manifest writes it.
func (r Ref) APIVersion() string { return r.GVK().GroupVersion().String() }

// Key returns namespace and name.
func (r Ref) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
}

// Same reports whether two references name one object, whatever version each was written in.
func (r Ref) Same(other Ref) bool {
	return r.GroupKind() == other.GroupKind() && r.Key() == other.Key()
}

// Object returns an object that holds nothing but its name.
func (r Ref) Object() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(r.GVK())
	u.SetNamespace(r.Namespace)
	u.SetName(r.Name)
	return u
}

// Compare orders references by group, kind, namespace and name.
func Compare(a, b Ref) int {
	return cmp.Or(
		strings.Compare(a.Group, b.Group), strings.Compare(a.Kind, b.Kind),
		strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name),
	)
}

// MetadataOf returns the metadata of an object.
func MetadataOf(u *unstructured.Unstructured) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: u.GetAPIVersion(), Kind: u.GetKind()},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: u.GetNamespace(), Name: u.GetName(), UID: u.GetUID(),
			ResourceVersion: u.GetResourceVersion(), Generation: u.GetGeneration(),
			CreationTimestamp: u.GetCreationTimestamp(), DeletionTimestamp: u.GetDeletionTimestamp(),
			Labels: u.GetLabels(), Annotations: u.GetAnnotations(), ManagedFields: u.GetManagedFields(),
			Finalizers: u.GetFinalizers(),
		},
	}
}
