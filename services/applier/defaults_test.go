package applier_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/services/applier"
)

// statusDefaults makes one of each kind while no controller runs. Clients that wait go by the
// generation that is not observed.
func statusDefaults(t *testing.T, w *world) {
	w.stop()
	defer func() { w.stop = w.start(applier.Settings{}) }()
	namespace := w.newNamespace(t)
	want := map[string]any{"observedGeneration": int64(-1)}
	for _, manifest := range []string{
		"{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, spec: {interval: 1h, prune: true, sourceRef: {kind: GitRepository, name: x}}}",
		"{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, spec: {interval: 1h, chartRef: {kind: HelmChart, name: x}}}",
		"{apiVersion: notification.toolkit.fluxcd.io/v1, kind: Receiver, spec: {type: generic, resources: [{kind: GitRepository, name: x}], secretRef: {name: x}}}",
		"{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, spec: {interval: 1h, url: 'https://example.com/x'}}",
		"{apiVersion: source.toolkit.fluxcd.io/v1, kind: OCIRepository, spec: {interval: 1h, url: 'oci://example.com/x'}}",
		"{apiVersion: source.toolkit.fluxcd.io/v1, kind: Bucket, spec: {interval: 1h, endpoint: example.com, bucketName: x}}",
		"{apiVersion: source.toolkit.fluxcd.io/v1, kind: HelmRepository, spec: {interval: 1h, url: 'https://example.com/x'}}",
		"{apiVersion: source.toolkit.fluxcd.io/v1, kind: HelmChart, spec: {interval: 1h, chart: x, sourceRef: {kind: HelmRepository, name: x}}}",
	} {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(manifest), &o.Object); err != nil {
			t.Fatal(err)
		}
		o.SetNamespace(namespace)
		o.SetName("new")
		if err := w.Create(t.Context(), o); err != nil {
			t.Errorf("%s: %v", o.GetKind(), err)
			continue
		}
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, o.Object["status"]); diff != "" {
			t.Errorf("%s: status (-want +got): %s", o.GetKind(), diff)
		}
		if err := w.Delete(t.Context(), o); err != nil {
			t.Error(err)
		}
	}
}

// deletedBeforeFinalizer deletes what only somebody else's finalizer holds while no applier runs. The next one
// adds none of its own, which the API server would refuse, and lets it go.
func deletedBeforeFinalizer(t *testing.T, w *world) {
	w.stop()
	const foreign = "example.com/foreign"
	namespace := w.newNamespace(t)
	var doomed []*unstructured.Unstructured
	for _, manifest := range []string{
		"{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, spec: {interval: 1h, prune: true, sourceRef: {kind: GitRepository, name: x}}}",
		"{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, spec: {interval: 1h, chartRef: {kind: HelmChart, name: x}}}",
	} {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(manifest), &o.Object); err != nil {
			t.Fatal(err)
		}
		o.SetNamespace(namespace)
		o.SetName("early")
		o.SetFinalizers([]string{foreign})
		if err := w.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if err := w.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		doomed = append(doomed, o)
	}
	w.stop = w.start(applier.Settings{})
	a := w.newApp(t, nil) // what it gets ready for is behind what was there before
	a.build(configMap("one", "1"))
	a.ready()
	a.settled()
	for _, o := range doomed {
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Fatal(err)
		}
		conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		if got := o.GetFinalizers(); !slices.Equal(got, []string{foreign}) || len(conditions) > 0 {
			t.Errorf("%s has the finalizers %q and conditions %v", o.GetKind(), got, conditions)
		}
		o.SetFinalizers(nil)
		if err := w.Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		a.until(o.GetKind()+" is gone", func() error {
			err := w.Get(t.Context(), client.ObjectKeyFromObject(o), o)
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	if lines := w.logs.about("level=ERROR", "namespace="+namespace); len(lines) > 0 {
		t.Errorf("logged as failures: %q", lines)
	}
}
