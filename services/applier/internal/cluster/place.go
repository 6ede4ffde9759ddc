package cluster

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Place drops the namespace of objects whose kind has none, as the API server does: manifests name one all the same
// (kustomize gives it to every kind that it does not know), and such an object would be told apart from what is live. The
// kinds are those that are served, and those that the objects define. One that is neither stays as it is written. Each is
// looked for once; the first that gets no answer is the error, and nothing is known of the others.
func (c *Cluster) Place(ctx context.Context, objects []*unstructured.Unstructured) error {
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
	served := map[schema.GroupVersionKind]bool{}
	for _, o := range objects {
		if o.GetNamespace() == "" {
			continue
		}
		gvk := o.GroupVersionKind()
		namespaced, known := defined[gvk.GroupKind()]
		if !known {
			namespaced, known = served[gvk]
		}
		if !known {
			var err error
			namespaced, err = c.Namespaced(gvk)
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case Unanswered(err):
				return fmt.Errorf("find out where objects of kind %s live: %w", gvk.Kind, err)
			case err != nil:
				namespaced = true // its apply tells what is wrong with its kind
			}
			served[gvk] = namespaced
		}
		if !namespaced {
			o.SetNamespace("")
		}
	}
	return nil
}

var definition = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
