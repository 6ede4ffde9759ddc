package handle

import (
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
)

func eventRef(r cluster.Ref) events.ObjectRef {
	return events.ObjectRef{APIVersion: r.APIVersion(), Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}

func clusterRef(o events.ObjectRef) cluster.Ref {
	return cluster.NewRef(schema.FromAPIVersionAndKind(o.APIVersion, o.Kind), o.Namespace, o.Name)
}

func entries(ks *kustomizev1.Kustomization) []inventory.Entry {
	if ks.Status.Inventory == nil {
		return nil
	}
	out := make([]inventory.Entry, 0, len(ks.Status.Inventory.Entries))
	for _, e := range ks.Status.Inventory.Entries {
		out = append(out, inventory.Entry{ID: e.ID, Version: e.Version})
	}
	return out
}

func setInventory(ks *kustomizev1.Kustomization, list []inventory.Entry) {
	refs := make([]kustomizev1.ResourceRef, 0, len(list)) // never nil: the CRD requires the list
	for _, e := range list {
		refs = append(refs, kustomizev1.ResourceRef{ID: e.ID, Version: e.Version})
	}
	ks.Status.Inventory = &kustomizev1.ResourceInventory{Entries: refs}
}

func plain(objects []render.Object) []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, 0, len(objects))
	for _, o := range objects {
		out = append(out, o.Unstructured)
	}
	return out
}

// only returns those of objects that refs name, of whatever version.
func only(objects []render.Object, refs []cluster.Ref) []render.Object {
	wanted := make(map[string]bool, len(refs))
	for _, r := range refs {
		wanted[inventory.ID(r)] = true
	}
	var out []render.Object
	for _, o := range objects {
		if wanted[inventory.ID(cluster.RefOf(o.Unstructured))] {
			out = append(out, o)
		}
	}
	return out
}

func firstOf(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
