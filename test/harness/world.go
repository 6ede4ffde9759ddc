package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sluice-gitops/sluice/deploy/crds"
	"github.com/sluice-gitops/sluice/test/controlplane"
	"github.com/sluice-gitops/sluice/test/gitserver"
)

// Branch is the branch a world's repository is pushed to.
const Branch = "main"

// SystemNamespace holds Sluice's own objects in a world.
const SystemNamespace = "sluice-system"

var namespaceKind = schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}

// WorldOptions says what a world is made of.
type WorldOptions struct {
	// Kubeconfig of an existing cluster; the embedded control plane when empty.
	Kubeconfig string
	// Plane configures the embedded control plane.
	Plane controlplane.Options
	// Progress receives what is being built and started.
	Progress io.Writer
	// Token is the secret of the world's webhooks.
	Token string
	// SluiceArgs are further flags of sluice run.
	SluiceArgs []string
	// Pushed is called after somebody pushed to a repository over HTTP; nil takes no pushes.
	Pushed func(repo string)
	// WithoutSluice leaves out sluice run, for tests that start the services one by one.
	WithoutSluice bool
}

// World is a cluster, a Git server and sluice, and what was created in them.
type World struct {
	Plane      *controlplane.ControlPlane // nil with an existing cluster
	Kubeconfig string
	REST       *rest.Config
	Cluster    *Cluster
	Store      *gitserver.Store
	HTTP       *gitserver.HTTPServer
	Sluice     *Sluice
	Log        *Log
	Token      string
	// Folder is where processes keep data and logs.
	Folder string

	closers []func() error
}

// NewWorld starts a world. On error it is closed again.
func NewWorld(ctx context.Context, o WorldOptions) (*World, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	o.Plane.Progress = o.Progress
	w := &World{Token: o.Token, Kubeconfig: o.Kubeconfig}
	steps := []func(context.Context, WorldOptions) error{w.makeFolder, w.startPlane, w.connect, w.installCRDs, w.serveGit}
	if !o.WithoutSluice {
		steps = append(steps, w.startSluice)
	}
	for _, step := range steps {
		if err := step(ctx, o); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	return w, nil
}

// Close undoes what was done, last first.
func (w *World) Close() error {
	var errs []error
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	w.closers = nil
	return errors.Join(errs...)
}

// OnClose adds something for Close to do before everything that was there earlier.
func (w *World) OnClose(undo func() error) { w.closers = append(w.closers, undo) }

func (w *World) makeFolder(context.Context, WorldOptions) error {
	folder, err := os.MkdirTemp("", "sluice-world-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	w.Folder = folder
	w.OnClose(func() error { return os.RemoveAll(folder) })
	return nil
}

func (w *World) startPlane(ctx context.Context, o WorldOptions) error {
	if w.Kubeconfig != "" {
		return nil
	}
	plane, err := controlplane.Start(ctx, o.Plane)
	if err != nil {
		return err
	}
	w.Plane, w.Kubeconfig = plane, plane.KubeconfigPath
	w.OnClose(plane.Stop)
	return nil
}

func (w *World) connect(context.Context, WorldOptions) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", w.Kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	w.REST = cfg
	w.Cluster, err = Connect(cfg)
	return err
}

func (w *World) installCRDs(ctx context.Context, _ WorldOptions) error {
	manifests, err := crds.All()
	if err != nil {
		return err
	}
	for _, manifest := range manifests {
		objects, err := Objects(manifest)
		if err != nil {
			return err
		}
		for _, u := range objects {
			if err := w.installCRD(ctx, u); err != nil {
				return err
			}
		}
	}
	return nil
}

// installCRD leaves a definition that is there alone, and removes at the end what it made.
func (w *World) installCRD(ctx context.Context, u *unstructured.Unstructured) error {
	r, err := w.Cluster.Resource(u.GroupVersionKind(), "")
	if err != nil {
		return err
	}
	_, err = r.Create(ctx, u, metav1.CreateOptions{FieldManager: Manager})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("install %s: %w", u.GetName(), err)
	}
	if w.Plane == nil {
		w.OnClose(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			return ignoreGone(r.Delete(ctx, u.GetName(), metav1.DeleteOptions{}))
		})
	}
	_, err = w.Cluster.WaitFor(ctx, u.GroupVersionKind(), "", u.GetName(), func(u *unstructured.Unstructured) bool {
		status, _, _ := Condition(u, "Established")
		return status == "True"
	})
	return err
}

func (w *World) serveGit(ctx context.Context, o WorldOptions) error {
	store, err := gitserver.NewStore()
	if err != nil {
		return err
	}
	w.Store = store
	w.OnClose(store.Close)
	w.HTTP, err = store.ServeHTTP(ctx, gitserver.HTTPOptions{Pushed: o.Pushed})
	if err != nil {
		return err
	}
	w.OnClose(w.HTTP.Close)
	return nil
}

func (w *World) startSluice(ctx context.Context, o WorldOptions) error {
	if err := w.Namespace(ctx, SystemNamespace); err != nil {
		return err
	}
	fmt.Fprintln(o.Progress, "building sluice")
	binary, err := Build(ctx, "cmd/sluice", "sluice")
	if err != nil {
		return err
	}
	w.Sluice, err = Start(ctx, Config{
		Binary: binary, Kubeconfig: w.Kubeconfig, Namespace: SystemNamespace,
		Dir: filepath.Join(w.Folder, "sluice"), Args: o.SluiceArgs,
	})
	if err != nil {
		return err
	}
	w.OnClose(func() error { return w.Sluice.Close() })
	w.Log, err = w.OpenLog("audit")
	if err != nil {
		return err
	}
	w.OnClose(func() error { w.Log.Close(); return nil })
	return nil
}

// OpenLog reads the log of sluice run as one of its NATS users.
func (w *World) OpenLog(user string) (*Log, error) {
	options, err := w.as(user)
	if err != nil {
		return nil, err
	}
	return OpenLog(w.Sluice.NATS, options...)
}

// Connect connects to NATS of sluice run as one of its users.
func (w *World) Connect(user string) (*nats.Conn, error) {
	options, err := w.as(user)
	if err != nil {
		return nil, err
	}
	c, err := nats.Connect(w.Sluice.NATS, append(options, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS as %s: %w", user, err)
	}
	return c, nil
}

func (w *World) as(user string) ([]nats.Option, error) {
	password, err := os.ReadFile(filepath.Join(w.Sluice.Data(), "nats-users", user))
	if err != nil {
		return nil, fmt.Errorf("read password of NATS user %s: %w", user, err)
	}
	return []nats.Option{nats.UserInfo(user, string(password)), nats.CustomInboxPrefix("_INBOX_" + user)}, nil
}

// Namespace makes a namespace that Close removes again.
func (w *World) Namespace(ctx context.Context, name string) error {
	r, err := w.Cluster.Resource(namespaceKind, "")
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}}
	_, err = r.Create(ctx, u, metav1.CreateOptions{FieldManager: Manager})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	if w.Plane == nil {
		w.OnClose(func() error { return w.removeNamespace(name) })
	}
	return nil
}

func (w *World) removeNamespace(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, err := w.Cluster.Resource(namespaceKind, "")
	if err != nil {
		return err
	}
	if err := ignoreGone(r.Delete(ctx, name, metav1.DeleteOptions{})); err != nil {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	_, err = w.Cluster.WaitFor(ctx, namespaceKind, "", name, func(u *unstructured.Unstructured) bool { return u == nil })
	return err
}

// Secret makes a Secret of text values.
func (w *World) Secret(ctx context.Context, namespace, name string, data map[string]string) error {
	values := make(map[string]any, len(data))
	for key, value := range data {
		values[key] = value
	}
	return w.Cluster.ApplyObject(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "stringData": values,
		"metadata": map[string]any{"name": name, "namespace": namespace},
	}})
}

// Hook sends the signed push of a commit to a Receiver of type github.
func (w *World) Hook(ctx context.Context, namespace, receiver, commit string) error {
	return PushHook(ctx, w.Sluice.Webhook+HookPath(w.Token, receiver, namespace), w.Token, Branch, commit)
}

// RevisionOf is the revision that a commit of the branch has in a status.
func RevisionOf(commit string) string { return Branch + "@sha1:" + strings.TrimSpace(commit) }

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
