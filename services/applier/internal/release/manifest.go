package release

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
)

// The metadata that says whose an object is, as Helm writes it.
const (
	managedByLabel      = "app.kubernetes.io/managed-by"
	managedBy           = "Helm"
	nameAnnotation      = "meta.helm.sh/release-name"
	namespaceAnnotation = "meta.helm.sh/release-namespace"
	policyAnnotation    = "helm.sh/resource-policy"
	policyKeep          = "keep"
)

// Manifests are manifests that were read: one is needed several times in a pass, and a copy of what was read
// costs far less than reading YAML. The zero value is empty. It is not for concurrent use, and lives as long as a pass.
type Manifests struct {
	read map[string][]*unstructured.Unstructured
}

// get returns copies of the objects of a manifest.
func (m *Manifests) get(manifest string) ([]*unstructured.Unstructured, error) {
	all, ok := m.read[manifest]
	if !ok {
		var err error
		if all, err = parse(manifest); err != nil {
			return nil, err
		}
		if m.read == nil {
			m.read = map[string][]*unstructured.Unstructured{}
		}
		m.read[manifest] = all
	}
	out := make([]*unstructured.Unstructured, len(all))
	for i, o := range all {
		out[i] = o.DeepCopy()
	}
	return out, nil
}

// objects reads a manifest: its objects in their order, lists taken apart, each in the
// release's namespace unless it names another or its kind has none. One that is there several times is as it is last.
func (r *Runner) objects(manifest, namespace string) ([]*unstructured.Unstructured, error) {
	read := parse
	if r.Manifests != nil {
		read = r.Manifests.get
	}
	out, err := read(manifest)
	if err != nil {
		return nil, permanent("%w", err)
	}
	for _, o := range out {
		if err := r.place(o, namespace); err != nil {
			return nil, err
		}
	}
	return unique(out), nil
}

// unique leaves out those objects that come again.
func unique(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	last := make(map[cluster.Ref]int, len(objects))
	for i, o := range objects {
		last[unversioned(o)] = i
	}
	if len(last) == len(objects) {
		return objects
	}
	var out []*unstructured.Unstructured
	for i, o := range objects {
		if last[unversioned(o)] == i {
			out = append(out, o)
		}
	}
	return out
}

// unversioned names an object by whatever version.
func unversioned(o *unstructured.Unstructured) cluster.Ref {
	r := cluster.RefOf(o)
	r.Version = ""
	return r
}

// place gives an object the namespace it is in. A kind that is not served is taken for one
// with a namespace: its apply says what is missing.
func (r *Runner) place(o *unstructured.Unstructured, namespace string) error {
	namespaced, err := r.Client.Cluster().Namespaced(o.GroupVersionKind())
	switch {
	case err != nil && !cluster.IsGone(err):
		return fmt.Errorf("look up kind of %s: %w", cluster.RefOf(o), err)
	case err == nil && !namespaced:
		o.SetNamespace("")
	case o.GetNamespace() == "":
		o.SetNamespace(namespace)
	}
	return nil
}

// own marks an object as the release's.
func own(o *unstructured.Unstructured, name, namespace string) {
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels[managedByLabel] = managedBy
	annotations[nameAnnotation], annotations[namespaceAnnotation] = name, namespace
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
}

// owned says whether metadata marks an object as the release's.
func owned(labels, annotations map[string]string, name, namespace string) bool {
	return labels[managedByLabel] == managedBy && annotations[nameAnnotation] == name && annotations[namespaceAnnotation] == namespace
}

// kept says whether annotations ask that their object is left when its release has it no more. Helm reads them as
// generously, at least where it uninstalls.
func kept(annotations map[string]string) bool {
	return strings.EqualFold(strings.TrimSpace(annotations[policyAnnotation]), policyKeep)
}

// groups cuts objects into runs of one kind.
func groups(objects []*unstructured.Unstructured) [][]*unstructured.Unstructured {
	var out [][]*unstructured.Unstructured
	for _, o := range objects {
		if n := len(out); n > 0 && out[n-1][0].GroupVersionKind() == o.GroupVersionKind() {
			out[n-1] = append(out[n-1], o)
			continue
		}
		out = append(out, []*unstructured.Unstructured{o})
	}
	return out
}

func refs(objects []*unstructured.Unstructured) []cluster.Ref {
	out := make([]cluster.Ref, len(objects))
	for i, o := range objects {
		out[i] = cluster.RefOf(o)
	}
	return out
}

// Objects are the objects of a revision's manifest, as they are in the cluster.
func (r *Runner) Objects(record *helmstore.Record) ([]*unstructured.Unstructured, error) {
	return r.objects(record.Manifest, record.Namespace)
}
