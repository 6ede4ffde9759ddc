package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/render"
)

// Client sends requests to a cluster with one identity. The errors it returns are
// those of the API server, so that apierrors and meta.IsNoMatchError see them.
type Client struct {
	cluster  *Cluster
	rest     rest.Interface
	core     typedcorev1.CoreV1Interface
	metadata metadata.Interface
	watches  metadata.Interface
	served   discovery.AggregatedDiscoveryInterface
}

// Cluster returns the cluster the client talks to.
func (c *Client) Cluster() *Cluster { return c.cluster }

// Apply server-side applies an object as Manager and takes conflicting fields over.
// created is true when the object was not there before. A dry run changes nothing.
func (c *Client) Apply(ctx context.Context, o *unstructured.Unstructured, dryRun bool) (live *unstructured.Unstructured, created bool, err error) {
	return c.ApplyAs(ctx, Manager, o, dryRun)
}

// ApplyAs is Apply with another field manager.
func (c *Client) ApplyAs(ctx context.Context, manager string, o *unstructured.Unstructured, dryRun bool) (live *unstructured.Unstructured, created bool, err error) {
	body, err := o.MarshalJSON()
	if err != nil {
		return nil, false, fmt.Errorf("encode %s: %w", RefOf(o), err)
	}
	if err := misnamed(RefOf(o)); err != nil {
		return nil, false, err
	}
	req, err := c.request(http.MethodPatch, RefOf(o))
	if err != nil {
		return nil, false, err
	}
	req.SetHeader("Content-Type", string(types.ApplyPatchType)).
		Param("fieldManager", manager).Param("force", "true")
	if dryRun {
		req.Param("dryRun", metav1.DryRunAll)
	}
	return c.object(ctx, req.Body(body))
}

// Get returns an object.
func (c *Client) Get(ctx context.Context, r Ref) (*unstructured.Unstructured, error) {
	req, err := c.request(http.MethodGet, r)
	if err != nil {
		return nil, err
	}
	o, _, err := c.object(ctx, req)
	return o, err
}

// Served returns the API server's version and all that it serves now.
func (c *Client) Served() (render.Served, error) { return render.Discover(c.served) }

// Ping returns nil when the API server answers, also when it refuses. One that says it is not ready, as without its
// store, answers nothing else.
func (c *Client) Ping(ctx context.Context) error {
	ctx, a := c.cluster.allow(ctx, maxProbe)
	defer a.end()
	err := c.rest.Get().AbsPath("/readyz").Do(ctx).Error()
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		if code := status.Status().Code; code >= http.StatusInternalServerError {
			return fmt.Errorf("it is not ready: /readyz answers with status %d", code)
		}
		return nil
	}
	return bare(err)
}

// Patch sends a patch as Manager.
func (c *Client) Patch(ctx context.Context, r Ref, kind types.PatchType, body []byte) (*unstructured.Unstructured, error) {
	req, err := c.request(http.MethodPatch, r)
	if err != nil {
		return nil, err
	}
	o, _, err := c.object(ctx, req.SetHeader("Content-Type", string(kind)).Param("fieldManager", Manager).Body(body))
	return o, err
}

// Delete deletes an object in the background: what it owns follows it. With a uid
// an object made anew under the same name is left alone (the error is a conflict).
func (c *Client) Delete(ctx context.Context, r Ref, uid types.UID) error {
	return c.delete(ctx, r, uid, metav1.DeleteOptions{})
}

// DeleteVersion deletes an object with a uid while it has a resource version.
func (c *Client) DeleteVersion(ctx context.Context, r Ref, uid types.UID, version string) error {
	return c.delete(ctx, r, uid, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}})
}

// DeletePropagating deletes an object with a uid: what it owns follows as policy says.
func (c *Client) DeletePropagating(ctx context.Context, r Ref, uid types.UID, policy metav1.DeletionPropagation) error {
	return c.delete(ctx, r, uid, metav1.DeleteOptions{PropagationPolicy: &policy})
}

// Secrets returns the Secrets of a namespace.
func (c *Client) Secrets(namespace string) typedcorev1.SecretInterface {
	return c.core.Secrets(namespace)
}

// MayDelete returns nil when Delete would succeed now, and its error otherwise.
func (c *Client) MayDelete(ctx context.Context, r Ref, uid types.UID) error {
	return c.delete(ctx, r, uid, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
}

func (c *Client) delete(ctx context.Context, r Ref, uid types.UID, opts metav1.DeleteOptions) error {
	resource, err := c.metadataOf(r)
	if err != nil {
		return err
	}
	if err := c.acquire(ctx); err != nil {
		return err
	}
	defer c.release()
	if opts.PropagationPolicy == nil {
		background := metav1.DeletePropagationBackground
		opts.PropagationPolicy = &background
	}
	if opts.Preconditions == nil {
		opts.Preconditions = &metav1.Preconditions{}
	}
	if uid != "" {
		opts.Preconditions.UID = &uid
	}
	ctx, a := c.cluster.allow(ctx, maxObject)
	defer a.end()
	return bare(resource.Delete(ctx, r.Name, opts))
}

func (c *Client) metadataOf(r Ref) (metadata.ResourceInterface, error) {
	m, err := c.cluster.Mapping(r.GVK())
	if err != nil {
		return nil, err
	}
	if impossible(r) != "" {
		return nil, absent(m, r)
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.metadata.Resource(m.Resource).Namespace(r.Namespace), nil
	}
	return c.metadata.Resource(m.Resource), nil
}

func (c *Client) request(verb string, r Ref) (*rest.Request, error) {
	m, err := c.cluster.Mapping(r.GVK())
	if err != nil {
		return nil, err
	}
	if impossible(r) != "" {
		return nil, absent(m, r)
	}
	path := []string{"/apis", m.Resource.Group, m.Resource.Version}
	if m.Resource.Group == "" {
		path = []string{"/api", m.Resource.Version}
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		path = append(path, "namespaces", r.Namespace)
	}
	return c.rest.Verb(verb).AbsPath(append(path, m.Resource.Resource, r.Name)...), nil
}

// object sends a request and decodes the object it answers with.
func (c *Client) object(ctx context.Context, req *rest.Request) (*unstructured.Unstructured, bool, error) {
	if err := c.acquire(ctx); err != nil {
		return nil, false, err
	}
	defer c.release()
	ctx, a := c.cluster.allow(ctx, maxObject)
	defer a.end()
	result := req.Do(ctx)
	if err := result.Error(); err != nil {
		return nil, false, bare(err)
	}
	var status int
	result.StatusCode(&status)
	body, err := result.Raw()
	if err != nil {
		return nil, false, err
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(body); err != nil {
		return nil, false, fmt.Errorf("decode answer: %w", err)
	}
	return o, status == http.StatusCreated, nil
}

// acquire waits for one of the cluster's connections.
func (c *Client) acquire(ctx context.Context) error {
	select {
	case c.cluster.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) release() { <-c.cluster.slots }

// IsGone reports whether an error says that an object is not there, or that its
// kind is not served.
func IsGone(err error) bool { return apierrors.IsNotFound(err) || meta.IsNoMatchError(err) }
