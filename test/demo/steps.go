package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
)

const (
	controlNamespace = "sluice-demo-control" // the custom resources
	appNamespace     = "sluice-demo"         // what they install
	stepLimit        = 90 * time.Second
)

var (
	kustomization = schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}
	receiver      = schema.GroupVersionKind{Group: "notification.toolkit.fluxcd.io", Version: "v1", Kind: "Receiver"}
	configMap     = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	deployment    = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
)

func (w *world) install(ctx context.Context, s *screen) error {
	s.title("Install: one GitRepository, four Kustomizations in a dependsOn chain, one Receiver")
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	manifest := strings.ReplaceAll(string(syncManifest), "${repository}", w.HTTP.URL(w.repo))
	start := time.Now()
	if err := w.Cluster.Apply(ctx, controlNamespace, []byte(manifest)); err != nil {
		return err
	}
	for _, name := range []string{"infrastructure", "backend", "frontend", "reports"} {
		if err := w.waitRevision(ctx, name); err != nil {
			return err
		}
		s.fact("%s is Ready at %s after %s", name, short(w.revision()), round(time.Since(start)))
	}
	if _, err := w.Cluster.WaitFor(ctx, receiver, controlNamespace, "demo", func(u *unstructured.Unstructured) bool {
		return u != nil && harness.Ready(u, "")
	}); err != nil {
		return err
	}
	s.fact("the Receiver listens at %s", w.hookURL())
	return nil
}

func (w *world) push(ctx context.Context, s *screen) error {
	s.title("Push: a commit reaches the cluster through the webhook")
	for i := 1; i <= 5; i++ {
		title := fmt.Sprintf("Welcome, for the %d. time", i)
		took, err := w.pushPage(ctx, title, nil)
		if err != nil {
			return err
		}
		s.fact("push %d is live after %s", i, round(took))
	}
	return nil
}

// pushPage commits a new title for the front page together with more files, sends
// the signed hook, and returns how long after the hook the cluster had the title.
func (w *world) pushPage(ctx context.Context, title string, more map[string]string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	files := map[string]string{"apps/frontend/base/settings.yaml": fmt.Sprintf(
		"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: frontend-page\ndata:\n  title: %q\n", title)}
	for name, body := range more {
		files[name] = body
	}
	if err := w.change(ctx, files, "Change the page to "+title); err != nil {
		return 0, err
	}
	return w.liveAfter(ctx, func() error { return w.hook(ctx) }, configMap, "frontend-page", func(u *unstructured.Unstructured) bool {
		return u != nil && dataOf(u, "title") == title
	})
}

// liveAfter does act while it watches an object of the app namespace, and returns
// how long after the start of act the object was as asked for.
func (w *world) liveAfter(ctx context.Context, act func() error, gvk schema.GroupVersionKind, name string, ok func(*unstructured.Unstructured) bool) (time.Duration, error) {
	start := time.Now()
	if err := act(); err != nil {
		return 0, err
	}
	_, err := w.Cluster.WaitFor(ctx, gvk, appNamespace, name, ok)
	return time.Since(start), err
}

func (w *world) drift(ctx context.Context, s *screen) error {
	s.title("Drift: what someone changes by hand is put back")
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	edits := []struct {
		what, name, patch string
		gvk               schema.GroupVersionKind
		good              func(*unstructured.Unstructured) bool
	}{
		{"a ConfigMap's value was edited", "frontend-page", `{"data":{"title":"Hacked"}}`, configMap,
			func(u *unstructured.Unstructured) bool { return u != nil && dataOf(u, "title") != "Hacked" }},
		{"a Deployment's image was edited", "backend",
			`{"spec":{"template":{"spec":{"containers":[{"name":"backend","image":"example.org/other:1"}]}}}}`, deployment,
			func(u *unstructured.Unstructured) bool { return u != nil && imageOf(u) == "example.org/backend:1.2.0" }},
	}
	for _, edit := range edits {
		r, err := w.Cluster.Resource(edit.gvk, appNamespace)
		if err != nil {
			return err
		}
		took, err := w.liveAfter(ctx, func() error {
			_, err := r.Patch(ctx, edit.name, types.StrategicMergePatchType, []byte(edit.patch), metav1.PatchOptions{FieldManager: "kubectl-edit"})
			return err
		}, edit.gvk, edit.name, edit.good)
		if err != nil {
			return err
		}
		s.fact("%s: reverted after %s", edit.what, round(took))
	}
	r, err := w.Cluster.Resource(configMap, appNamespace)
	if err != nil {
		return err
	}
	took, err := w.liveAfter(ctx, func() error { return r.Delete(ctx, "reports-schedule", metav1.DeleteOptions{}) },
		configMap, "reports-schedule", func(u *unstructured.Unstructured) bool { return u != nil })
	if err != nil {
		return err
	}
	s.fact("a ConfigMap was deleted: back after %s", round(took))
	return nil
}

func (w *world) prune(ctx context.Context, s *screen) error {
	s.title("Prune: a file removed from Git is removed from the cluster")
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	if err := w.remove(ctx, "apps/reports/job-template.yaml", "Drop the report template"); err != nil {
		return err
	}
	took, err := w.liveAfter(ctx, func() error { return w.hook(ctx) }, configMap, "reports-template",
		func(u *unstructured.Unstructured) bool { return u == nil })
	if err != nil {
		return err
	}
	s.fact("ConfigMap reports-template is gone after %s", round(took))
	return w.waitRevision(ctx, "reports")
}

func (w *world) broken(ctx context.Context, s *screen) error {
	s.title("Broken manifest: one app's bad file holds nobody else up")
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	const file = "apps/reports/job-settings.yaml"
	took, err := w.pushPage(ctx, "Still served", map[string]string{file: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [broken\n"})
	if err != nil {
		return err
	}
	s.fact("the frontend's change in the same commit is live after %s", round(took))
	var message string
	if _, err := w.Cluster.WaitFor(ctx, kustomization, controlNamespace, "reports", func(u *unstructured.Unstructured) bool {
		status, reason, text := harness.Condition(u, "Ready")
		message = text
		return status == "False" && reason == "BuildFailed"
	}); err != nil {
		return err
	}
	if !strings.Contains(message, file) {
		return fmt.Errorf("the message of Kustomization reports does not name %s: %s", file, message)
	}
	s.fact("Kustomization reports says BuildFailed: %s", message)
	if _, err := w.Cluster.Get(ctx, configMap, appNamespace, "reports-schedule"); err != nil {
		return fmt.Errorf("the last good version of the reports must stay: %w", err)
	}
	s.fact("its objects stay at the last good version")
	took, err = w.pushPage(ctx, "All good", map[string]string{file: goodReports})
	if err != nil {
		return err
	}
	if err := w.waitRevision(ctx, "reports"); err != nil {
		return err
	}
	s.fact("mended by the next push (live after %s)", round(took))
	return nil
}

const goodReports = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: reports-schedule\ndata:\n  every: 2h\n"

func (w *world) timeline(ctx context.Context, s *screen) error {
	s.title("The same story as CloudEvents, read back from the bus")
	entries, err := w.Log.Read(ctx)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return fmt.Errorf("the event log is empty")
	}
	seen := map[string]int{}
	for _, e := range entries {
		if !strings.Contains(e.Subject, "."+controlNamespace+".") {
			continue
		}
		seen[e.Event.Type()]++
		s.note("%s  #%d  %-34s %s", e.Event.Time().Local().Format("15:04:05.000"), e.Sequence%1_000_000,
			strings.TrimPrefix(e.Event.Type(), "dev.sluice."), e.Event.Subject())
	}
	for _, kind := range []string{
		events.TypeHookReceived, events.TypeSourceChanged, events.TypeBuildRendered, events.TypeBuildFailed,
		events.TypeApplySucceeded, events.TypeDriftDetected, events.TypeDriftCorrected, events.TypePruned,
	} {
		if seen[kind] == 0 {
			return fmt.Errorf("the log holds no %s event", kind)
		}
	}
	s.fact("%d events, in one order, every step of the above among them", len(entries))
	return nil
}

func (w *world) waitRevision(ctx context.Context, name string) error {
	_, err := w.Cluster.WaitFor(ctx, kustomization, controlNamespace, name, func(u *unstructured.Unstructured) bool {
		return u != nil && harness.Ready(u, w.revision())
	})
	return err
}

func dataOf(u *unstructured.Unstructured, key string) string {
	value, _, err := unstructured.NestedString(u.Object, "data", key)
	if err != nil {
		return ""
	}
	return value
}

func imageOf(u *unstructured.Unstructured) string {
	containers, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) == 0 {
		return ""
	}
	first, isMap := containers[0].(map[string]any)
	if !isMap {
		return ""
	}
	image, isText := first["image"].(string)
	if !isText {
		return ""
	}
	return image
}

func short(revision string) string {
	if i := strings.LastIndexByte(revision, ':'); i >= 0 && len(revision) > i+9 {
		return revision[:i+9]
	}
	return revision
}
