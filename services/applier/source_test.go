package applier_test

import (
	"context"
	"slices"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
)

func sourceCases() []testCase {
	return []testCase{
		{"GitRepository", "applied, followed and missed when it is gone", sourceLife(sourcev1.GitRepositoryKind)},
		{"OCIRepository", "as a GitRepository", sourceLife(sourcev1.OCIRepositoryKind)},
		{"Bucket", "as a GitRepository", sourceLife(sourcev1.BucketKind)},
		{"not fetched yet", "a source made a moment ago is waited for, which is no failure", notFetchedYet},
		{"ExternalArtifact, gate off", "stalls until an operator allows sources that others write", externalGateOff},
		{"NoCrossNamespaceRefs, flag off", "a source of another namespace is used", crossNamespace},
	}
}

func sourceAloneCases() []testCase {
	return []testCase{
		{"ExternalArtifact", "works with the gate and reacts to its revision", externalGateOn},
		{"NoCrossNamespaceRefs", "with the flag, a source of another namespace stalls as AccessDenied", crossNamespaceBlocked},
		{"a kind that is not installed", "holds up no other, and is served once it is installed", kindComesLater},
	}
}

func sourceLife(kind string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		a := w.newAppOf(t, kind, nil)
		a.follows()
		source := a.source.object(nil)
		if err := a.world.Delete(t.Context(), source); err != nil {
			t.Fatal(err)
		}
		a.condition(kube.ConditionReady, "False", "ArtifactFailed", "not found")
		a.holds("one", "2")
		a.createSource()
		a.build(configMap("one", "3"))
		a.ready()
		a.holds("one", "3")
	}
}

func notFetchedYet(t *testing.T, w *world) {
	a := &app{world: w, t: t, namespace: w.newNamespace(t), name: "app"}
	a.source = sourceRef{kind: sourcev1.GitRepositoryKind, namespace: a.namespace, name: "repo"}
	if err := a.Create(t.Context(), a.source.object(specs[a.source.kind])); err != nil {
		t.Fatal(err)
	}
	a.create(a.name, nil)
	const message = "Source artifact not found, retrying in 30s"
	a.condition(kube.ConditionReady, "False", "ArtifactFailed", message)
	a.condition(kube.ConditionReconciling, "True", "ProgressingWithRetry", message)
	a.event("Normal", "ArtifactFailed", message)
	a.moveSource("main@sha1:1")
	a.build(configMap("one", "1"))
	a.ready()
	if slices.Contains(a.journal(), events.TypeApplyFailed) {
		t.Errorf("a failure was told: %v", a.journal())
	}
	if lines := a.logs.about("level=ERROR", "namespace="+a.namespace); len(lines) > 0 {
		t.Errorf("logged as failures: %q", lines)
	}
}

// follows shows that the app is applied, and applied again at a newer revision.
func (a *app) follows() {
	a.t.Helper()
	a.build(configMap("one", "1"))
	a.ready()
	a.holds("one", "1")
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "2"))
	a.ready()
	a.holds("one", "2")
}

func externalGateOff(t *testing.T, w *world) {
	a := w.newAppOf(t, sourcev1.ExternalArtifactKind, nil)
	a.denied("can't access 'ExternalArtifact/" + a.namespace + "/repo', ExternalArtifact feature gate is disabled")
}

// denied waits until the app is refused its source, and that is told.
func (a *app) denied(message string) {
	a.t.Helper()
	ks := a.condition(kube.ConditionReady, "False", "AccessDenied", message)
	a.condition(kube.ConditionStalled, "True", "AccessDenied", message)
	if ks.Status.ObservedGeneration != ks.Generation {
		a.t.Errorf("observed generation is %d", ks.Status.ObservedGeneration)
	}
	a.event("Warning", "AccessDenied", message)
}

// elsewhere is an app whose source is in another namespace.
func (w *world) elsewhere(t *testing.T) *app {
	t.Helper()
	a := &app{world: w, t: t, namespace: w.newNamespace(t), name: "app"}
	a.source = sourceRef{kind: sourcev1.GitRepositoryKind, namespace: w.newNamespace(t), name: "repo"}
	a.createSource()
	a.create(a.name, nil)
	return a
}

func crossNamespace(t *testing.T, w *world) { w.elsewhere(t).follows() }

func crossNamespaceBlocked(t *testing.T, w *world) {
	w.with(applier.Settings{NoCrossNamespaceRefs: true}, func() {
		a := w.elsewhere(t)
		a.denied("can't access 'GitRepository/" + a.source.namespace + "/repo', cross-namespace references have been blocked")
	})
}

func externalGateOn(t *testing.T, w *world) {
	w.with(applier.Settings{ExternalArtifacts: true}, func() {
		sourceLife(sourcev1.ExternalArtifactKind)(t, w)
	})
}

func kindComesLater(t *testing.T, w *world) {
	w.stop()
	w.uninstall(t, "buckets.source.toolkit.fluxcd.io")
	other := w.start(applier.Settings{})
	defer func() {
		other()
		w.stop = w.start(applier.Settings{}) // which watches every kind from its start
	}()
	w.newApp(t, nil).follows()
	missing := &app{world: w, t: t, namespace: w.newNamespace(t), name: "app"}
	missing.source = sourceRef{kind: sourcev1.BucketKind, namespace: missing.namespace, name: "repo"}
	missing.create("app", nil)
	missing.condition(kube.ConditionReady, "False", "ArtifactFailed", "Bucket")
	if err := w.plane.InstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	missing.createSource()
	missing.follows()
}

// uninstall deletes a definition and waits until it is gone.
func (w *world) uninstall(t *testing.T, definition string) {
	t.Helper()
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	crd.SetName(definition)
	if err := w.Delete(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		err := w.Get(ctx, client.ObjectKeyFromObject(crd), crd)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
	if err != nil {
		t.Fatalf("definition %s is still there: %v", definition, err)
	}
}
