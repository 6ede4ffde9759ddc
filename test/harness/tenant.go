package harness

import (
	"context"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/test/gitserver"
)

// SourceName is the name of a tenant's GitRepository and of its Receiver.
const SourceName = "apps"

// Tenant is a namespace of a world with a Git repository, a GitRepository that
// follows it and a Receiver that takes its pushes.
type Tenant struct {
	*World
	Namespace string
	Repo      *gitserver.Repo
	// Commit is the newest commit.
	Commit string
	// Webhook is the base address hooks are sent to; that of sluice run when empty.
	Webhook string
}

// NewTenant makes a tenant whose repository begins with files, and waits until
// its Receiver listens. The interval of everything is an hour: what happens
// earlier was woken by an event.
func (w *World) NewTenant(ctx context.Context, name string, files map[string]string) (*Tenant, error) {
	t := &Tenant{World: w, Namespace: name}
	if err := w.Namespace(ctx, name); err != nil {
		return nil, err
	}
	if err := w.Secret(ctx, name, "webhook", map[string]string{"token": w.Token}); err != nil {
		return nil, err
	}
	repo, err := w.Store.NewRepo(ctx, name)
	if err != nil {
		return nil, err
	}
	t.Repo = repo
	if err := t.Write(ctx, files); err != nil {
		return nil, err
	}
	if err := t.Source(ctx, SourceName, map[string]any{"url": w.HTTP.URL(repo)}); err != nil {
		return nil, err
	}
	return t, t.receiver(ctx)
}

func (t *Tenant) receiver(ctx context.Context) error {
	err := t.object(ctx, ReceiverKind.GroupVersion().String(), ReceiverKind.Kind, SourceName, map[string]any{
		"type": "github", "events": []any{"push"}, "secretRef": map[string]any{"name": "webhook"},
		"resources": []any{map[string]any{
			"apiVersion": GitRepositoryKind.GroupVersion().String(), "kind": GitRepositoryKind.Kind, "name": SourceName,
		}},
	})
	if err != nil {
		return err
	}
	_, err = t.Cluster.WaitFor(ctx, ReceiverKind, t.Namespace, SourceName, func(u *unstructured.Unstructured) bool {
		return u != nil && Ready(u, "")
	})
	return err
}

// Source applies a GitRepository; spec adds to and replaces the defaults.
func (t *Tenant) Source(ctx context.Context, name string, spec map[string]any) error {
	whole := map[string]any{"interval": "1h", "timeout": "20s", "ref": map[string]any{"branch": Branch}}
	maps.Copy(whole, spec)
	return t.object(ctx, GitRepositoryKind.GroupVersion().String(), GitRepositoryKind.Kind, name, whole)
}

// Kustomization applies a Kustomization of the tenant's source; spec adds to and
// replaces the defaults, and a nil leaves one out.
func (t *Tenant) Kustomization(ctx context.Context, name string, spec map[string]any) error {
	whole := map[string]any{
		"interval": "1h", "retryInterval": "5s", "timeout": "1m", "prune": true, "targetNamespace": t.Namespace,
		"sourceRef": map[string]any{"kind": GitRepositoryKind.Kind, "name": SourceName},
	}
	maps.Copy(whole, spec)
	maps.DeleteFunc(whole, func(_ string, value any) bool { return value == nil })
	return t.object(ctx, KustomizationKind.GroupVersion().String(), KustomizationKind.Kind, name, whole)
}

func (t *Tenant) object(ctx context.Context, apiVersion, kind, name string, spec map[string]any) error {
	return t.Cluster.ApplyObject(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": apiVersion, "kind": kind, "spec": spec,
		"metadata": map[string]any{"name": name, "namespace": t.Namespace},
	}})
}

// Write commits files without telling anybody.
func (t *Tenant) Write(ctx context.Context, files map[string]string) (err error) {
	t.Commit, err = t.Repo.Commit(ctx, Branch, "Change the apps", files)
	return err
}

// Push commits files and delivers the hook.
func (t *Tenant) Push(ctx context.Context, files map[string]string) error {
	if err := t.Write(ctx, files); err != nil {
		return err
	}
	return t.Deliver(ctx)
}

// Remove commits the removal of files and delivers the hook.
func (t *Tenant) Remove(ctx context.Context, paths ...string) (err error) {
	if t.Commit, err = t.Repo.Delete(ctx, Branch, "Remove files", paths...); err != nil {
		return err
	}
	return t.Deliver(ctx)
}

// Deliver sends the hook of the newest commit until it is taken.
func (t *Tenant) Deliver(ctx context.Context) error {
	url := t.Webhook
	if url == "" {
		url = t.Sluice.Webhook
	}
	if err := DeliverHook(ctx, url+HookPath(t.Token, SourceName, t.Namespace), t.Token, Branch, t.Commit); err != nil {
		return fmt.Errorf("deliver the hook of %s: %w", t.Namespace, err)
	}
	return nil
}

// Revision is the revision of the newest commit as a status names it.
func (t *Tenant) Revision() string { return RevisionOf(t.Commit) }

// Live waits until Kustomizations are Ready at the newest commit.
func (t *Tenant) Live(ctx context.Context, names ...string) error {
	revision := t.Revision()
	for _, name := range names {
		_, err := t.Cluster.WaitFor(ctx, KustomizationKind, t.Namespace, name, func(u *unstructured.Unstructured) bool {
			return u != nil && Ready(u, revision)
		})
		if err != nil {
			return fmt.Errorf("wait for revision %s: %w", revision, err)
		}
	}
	return nil
}

// Delete asks for the deletion of an object of the tenant's namespace.
func (t *Tenant) Delete(ctx context.Context, gvk schema.GroupVersionKind, name string) error {
	r, err := t.Cluster.Resource(gvk, t.Namespace)
	if err != nil {
		return err
	}
	if err := ignoreGone(r.Delete(ctx, name, metav1.DeleteOptions{})); err != nil {
		return fmt.Errorf("delete %s %s/%s: %w", gvk.Kind, t.Namespace, name, err)
	}
	return nil
}
