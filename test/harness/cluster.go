package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// Manager is the field manager under which the harness applies what a user would.
const Manager = "platform-team"

// Cluster is a user's view of a cluster.
type Cluster struct {
	Dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

// Connect returns a user's client for a cluster.
func Connect(cfg *rest.Config) (*Cluster, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	cfg.UserAgent = Manager
	d, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to cluster: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to cluster: %w", err)
	}
	return &Cluster{Dynamic: d, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))}, nil
}

// Objects reads YAML documents.
func Objects(manifest []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4<<10)
	for {
		u := &unstructured.Unstructured{}
		if err := decoder.Decode(&u.Object); err != nil {
			if errors.Is(err, io.EOF) {
				return out, nil
			}
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		if len(u.Object) > 0 {
			out = append(out, u)
		}
	}
}

// Apply applies YAML documents; namespace fills in where an object names none and has one.
func (c *Cluster) Apply(ctx context.Context, namespace string, manifest []byte) error {
	objects, err := Objects(manifest)
	if err != nil {
		return err
	}
	for _, u := range objects {
		if u.GetNamespace() == "" {
			u.SetNamespace(namespace)
		}
		if err := c.ApplyObject(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// ApplyObject server-side applies one object.
func (c *Cluster) ApplyObject(ctx context.Context, u *unstructured.Unstructured) error {
	r, err := c.served(ctx, u.GroupVersionKind(), u.GetNamespace())
	if err != nil {
		return err
	}
	if _, err := r.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: Manager, Force: true}); err != nil {
		return fmt.Errorf("apply %s %s/%s: %w", u.GetKind(), u.GetNamespace(), u.GetName(), err)
	}
	return nil
}

// Resource returns the client of a kind; namespace is left out for a cluster-scoped kind.
func (c *Cluster) Resource(gvk schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	mapping, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("find kind %s: %w", gvk, err)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.Dynamic.Resource(mapping.Resource).Namespace(namespace), nil
	}
	return c.Dynamic.Resource(mapping.Resource), nil
}

// served waits until a kind is found: a CRD says that it is established before discovery lists what it defines.
func (c *Cluster) served(ctx context.Context, gvk schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	var r dynamic.ResourceInterface
	var missing error
	err := Until(ctx, 20*time.Millisecond, func(context.Context) (found bool, err error) {
		r, err = c.Resource(gvk, namespace)
		if meta.IsNoMatchError(err) {
			missing = err
			return false, nil
		}
		return true, err
	})
	if ctx.Err() != nil {
		return nil, errors.Join(missing, err)
	}
	return r, err
}

// Get reads one object.
func (c *Cluster) Get(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string) (*unstructured.Unstructured, error) {
	r, err := c.Resource(gvk, namespace)
	if err != nil {
		return nil, err
	}
	return r.Get(ctx, name, metav1.GetOptions{})
}

// WaitFor watches one object until ok says yes to it (nil when it does not
// exist) and returns how long that took. It sees a change as soon as the API server tells of it.
func (c *Cluster) WaitFor(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string, ok func(*unstructured.Unstructured) bool) (time.Duration, error) {
	start := time.Now()
	r, err := c.served(ctx, gvk, namespace)
	if err != nil {
		return time.Since(start), fmt.Errorf("wait for %s %s/%s: %w", gvk.Kind, namespace, name, err)
	}
	var last *unstructured.Unstructured
	for {
		done, seen, err := c.follow(ctx, r, name, ok)
		last = seen
		if done {
			return time.Since(start), nil
		}
		if ctx.Err() != nil {
			return time.Since(start), fmt.Errorf("wait for %s %s/%s: %w; last seen: %s", gvk.Kind, namespace, name, ctx.Err(), Describe(last))
		}
		if err != nil {
			return time.Since(start), fmt.Errorf("wait for %s %s/%s: %w", gvk.Kind, namespace, name, err)
		}
	}
}

func (c *Cluster) follow(ctx context.Context, r dynamic.ResourceInterface, name string, ok func(*unstructured.Unstructured) bool) (bool, *unstructured.Unstructured, error) {
	current, err := r.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		current, err = nil, nil
	}
	if err != nil {
		return false, nil, err
	}
	if ok(current) {
		return true, current, nil
	}
	options := metav1.ListOptions{FieldSelector: "metadata.name=" + name}
	if current != nil {
		options.ResourceVersion = current.GetResourceVersion()
	}
	w, err := r.Watch(ctx, options)
	if err != nil {
		return false, current, err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		u, isObject := e.Object.(*unstructured.Unstructured)
		switch {
		case !isObject || e.Type == "ERROR" || e.Type == "BOOKMARK":
			return false, current, nil
		case e.Type == "DELETED":
			u = nil
		}
		current = u
		if ok(u) {
			return true, u, nil
		}
	}
	return false, current, nil
}

// Describe says what the conditions of an object are, for error messages.
func Describe(u *unstructured.Unstructured) string {
	if u == nil {
		return "not found"
	}
	status, found, err := unstructured.NestedMap(u.Object, "status")
	if err != nil || !found {
		return "no status"
	}
	delete(status, "inventory")
	return fmt.Sprint(status)
}

// Condition returns status, reason and message of a condition; empty when absent.
func Condition(u *unstructured.Unstructured, kind string) (status, reason, message string) {
	if u == nil {
		return "", "", ""
	}
	conditions, _, err := unstructured.NestedSlice(u.Object, "status", "conditions")
	if err != nil {
		return "", "", ""
	}
	for _, item := range conditions {
		c, isMap := item.(map[string]any)
		if !isMap || c["type"] != kind {
			continue
		}
		return fmt.Sprint(c["status"]), fmt.Sprint(c["reason"]), fmt.Sprint(c["message"])
	}
	return "", "", ""
}

// Ready says whether an object is Ready at its newest generation and revision;
// any revision will do when revision is empty.
func Ready(u *unstructured.Unstructured, revision string) bool {
	status, _, _ := Condition(u, "Ready")
	if status != "True" {
		return false
	}
	observed, _, err := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	if err != nil || observed != u.GetGeneration() {
		return false
	}
	return revision == "" || Revision(u) == revision
}

// Revision returns the revision that an object's status names: the artifact's for
// a source, the applied one for a Kustomization.
func Revision(u *unstructured.Unstructured) string {
	if u == nil {
		return ""
	}
	path := []string{"status", "lastAppliedRevision"}
	if u.GroupVersionKind().Group == "source.toolkit.fluxcd.io" {
		path = []string{"status", "artifact", "revision"}
	}
	revision, _, err := unstructured.NestedString(u.Object, path...)
	if err != nil {
		return ""
	}
	return revision
}
