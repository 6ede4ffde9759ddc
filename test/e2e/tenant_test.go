package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/test/harness"
)

// tenant is a tenant whose failures are the test's.
type tenant struct {
	*harness.Tenant
	t *testing.T
}

// newTenant makes a tenant in a namespace of its own. When the test ends its
// Kustomizations and sources are deleted, so that they cost later tests nothing.
func newTenant(t *testing.T, name string, files map[string]string) tenant {
	t.Helper()
	base, err := world.NewTenant(within(t, limit), "e2e-"+name, files)
	if err != nil {
		t.Fatal(err)
	}
	n := tenant{base, t}
	t.Cleanup(func() {
		// Not the test's own context: that has ended.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
		defer cancel()
		for _, kind := range []schema.GroupVersionKind{harness.KustomizationKind, harness.GitRepositoryKind, harness.ReceiverKind} {
			if err := n.clear(ctx, kind); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
		if t.Failed() {
			n.tell(ctx)
		}
	})
	return n
}

// clear deletes the objects of a kind and waits until they are gone.
func (n tenant) clear(ctx context.Context, kind schema.GroupVersionKind) error {
	r, err := n.Cluster.Resource(kind, n.Namespace)
	if err != nil {
		return err
	}
	list, err := r.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, item := range list.Items {
		if n.t.Failed() {
			n.t.Logf("%s %s: %s", kind.Kind, item.GetName(), harness.Describe(&item))
		}
		if err := r.Delete(ctx, item.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	for _, item := range list.Items {
		if _, err := n.Cluster.WaitFor(ctx, kind, n.Namespace, item.GetName(), gone); err != nil {
			return err
		}
	}
	return nil
}

// tell shows what the process had to say about the namespace.
func (n tenant) tell(context.Context) {
	lines, err := logLines(n.Namespace)
	if err != nil {
		n.t.Logf("no log: %v", err)
		return
	}
	const most = 40
	if len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	n.t.Logf("the process on %s:\n%s", n.Namespace, strings.Join(lines, "\n"))
}

// app applies a Kustomization named as the folder it builds.
func (n tenant) app(name string, spec map[string]any) {
	n.t.Helper()
	whole := map[string]any{"path": "./" + name}
	for key, value := range spec {
		whole[key] = value
	}
	if err := n.Kustomization(within(n.t, limit), name, whole); err != nil {
		n.t.Fatal(err)
	}
}

// live waits until Kustomizations are Ready at the newest commit.
func (n tenant) live(names ...string) {
	n.t.Helper()
	if err := n.Live(within(n.t, limit), names...); err != nil {
		n.t.Fatal(err)
	}
}

// push commits files and delivers the hook.
func (n tenant) push(files map[string]string) {
	n.t.Helper()
	if err := n.Push(within(n.t, limit), files); err != nil {
		n.t.Fatal(err)
	}
}

// get reads an object of the namespace.
func (n tenant) get(kind schema.GroupVersionKind, name string) *unstructured.Unstructured {
	n.t.Helper()
	u, err := n.Cluster.Get(within(n.t, limit), kind, n.Namespace, name)
	if err != nil {
		n.t.Fatalf("get %s %s/%s: %v", kind.Kind, n.Namespace, name, err)
	}
	return u
}

// version returns the resourceVersion of an object of the namespace.
func (n tenant) version(kind schema.GroupVersionKind, name string) string {
	n.t.Helper()
	return n.get(kind, name).GetResourceVersion()
}

// await waits until an object of the namespace is as asked for and returns how long that took.
func (n tenant) await(kind schema.GroupVersionKind, name string, ok func(*unstructured.Unstructured) bool) time.Duration {
	n.t.Helper()
	return n.awaitWithin(limit, kind, name, ok)
}

func (n tenant) awaitWithin(d time.Duration, kind schema.GroupVersionKind, name string, ok func(*unstructured.Unstructured) bool) time.Duration {
	n.t.Helper()
	took, err := n.Cluster.WaitFor(within(n.t, d), kind, n.Namespace, name, ok)
	if err != nil {
		n.t.Fatal(err)
	}
	return took
}

// patch edits an object of the namespace as a person does.
func (n tenant) patch(kind schema.GroupVersionKind, name, body string, subresources ...string) {
	n.t.Helper()
	ctx := within(n.t, limit)
	r, err := n.Cluster.Resource(kind, n.Namespace)
	if err == nil {
		_, err = r.Patch(ctx, name, types.MergePatchType, []byte(body), metav1.PatchOptions{FieldManager: "kubectl-edit"}, subresources...)
	}
	if err != nil {
		n.t.Fatalf("edit %s %s/%s: %v", kind.Kind, n.Namespace, name, err)
	}
}

// remove deletes an object of the namespace.
func (n tenant) remove(kind schema.GroupVersionKind, name string) {
	n.t.Helper()
	if err := n.Delete(within(n.t, limit), kind, name); err != nil {
		n.t.Fatal(err)
	}
}

func gone(u *unstructured.Unstructured) bool { return u == nil }

// holds says whether an object has a value in its data.
func holds(key, value string) func(*unstructured.Unstructured) bool {
	return func(u *unstructured.Unstructured) bool { return u != nil && text(u, "data", key) == value }
}

// text returns a string at a path of an object, empty when there is none.
func text(u *unstructured.Unstructured, path ...string) string {
	value, _, err := unstructured.NestedString(u.Object, path...)
	if err != nil {
		return ""
	}
	return value
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  value: %q\n", name, value)
}

func deployment(name string, replicas int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
spec:
  replicas: %[2]d
  selector:
    matchLabels:
      app: %[1]s
  template:
    metadata:
      labels:
        app: %[1]s
    spec:
      containers:
        - name: app
          image: example.org/app:1.0.0
`, name, replicas)
}
