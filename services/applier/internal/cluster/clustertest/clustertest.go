// Package clustertest gives tests objects of a real cluster, edits of them by others, and a cluster that does not answer.
package clustertest

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// maxNamespace leaves room in names that tests make of their namespace's.
const maxNamespace = 50

// Namespace makes a namespace named after the test and returns its name.
func Namespace(t testing.TB, client *cluster.Client) string {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	name = name[:min(len(name), maxNamespace)]
	namespace := Objects(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: NS}", name)[0]
	if _, _, err := client.Apply(t.Context(), namespace, false); err != nil {
		t.Fatal(err)
	}
	return name
}

// Objects reads manifests separated by --- and puts the namespace's name in place of NS.
func Objects(t testing.TB, manifests, namespace string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for m := range strings.SplitSeq(strings.ReplaceAll(manifests, "NS", namespace), "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(m), &o.Object); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	return objects
}

// Ref names an object.
func Ref(apiVersion, kind, namespace, name string) cluster.Ref {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return cluster.RefOf(o)
}

// Edit patches an object, or a subresource of it, as another manager. An apply takes fields over by force.
func Edit(t testing.TB, objects dynamic.ResourceInterface, name, manager string, kind types.PatchType, patch string, subresource ...string) {
	t.Helper()
	opts := metav1.PatchOptions{FieldManager: manager}
	if kind == types.ApplyPatchType {
		force := true
		opts.Force = &force
	}
	if _, err := objects.Patch(t.Context(), name, kind, []byte(patch), opts, subresource...); err != nil {
		t.Fatal(err)
	}
}
