package cluster

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Place drops the namespace of objects whose kind has none, as the API server does: manifests name one all the same
// (kustomize gives it to every kind that it does not know), and such an object would be told apart from what is live. The
// kinds are those that are served, and those that the objects define. One that is neither stays as it is written.
func (c *Cluster) Place(objects []*unstructured.Unstructured) {
	defined := map[schema.GroupKind]bool{}
	for _, o := range objects {
		if o.GroupVersionKind().GroupKind() != definition {
			continue
		}
		group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
		scope, _, _ := unstructured.NestedString(o.Object, "spec", "scope")
		defined[schema.GroupKind{Group: group, Kind: kind}] = scope != "Cluster"
	}
	for _, o := range objects {
		if o.GetNamespace() == "" {
			continue
		}
		namespaced, known := defined[o.GroupVersionKind().GroupKind()]
		if !known {
			served, err := c.Namespaced(o.GroupVersionKind())
			namespaced = served || err != nil // its apply tells what is wrong with its kind
		}
		if !namespaced {
			o.SetNamespace("")
		}
	}
}

var definition = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
