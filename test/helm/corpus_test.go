package helm

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	helmrelease "helm.sh/helm/v3/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/test/charts"
	"github.com/sluice-gitops/sluice/test/harness"
)

// installed is one chart with one set of values, as it is installed twice.
type installed struct {
	chart, values string
	// ours and theirs are the namespaces that Sluice and the SDK install it in.
	ours, theirs string
	name         string
}

// TestLiveLikeHelm installs each chart of the corpus with each set of its values, and has the Helm SDK install it
// in another namespace: the objects that both made are the same, but for what tells one object from another.
func TestLiveLikeHelm(t *testing.T) {
	corpus := charts.Corpus()
	files := map[string]string{}
	var cases []installed
	for _, name := range slices.Sorted(maps.Keys(corpus)) {
		if !corpus[name].Live {
			continue
		}
		maps.Copy(files, charts.Under(name, corpus[name].Files))
		for i, values := range corpus[name].Values {
			at := fmt.Sprintf("corpus-%%s-%s-%d", name, i)
			cases = append(cases, installed{name, values, fmt.Sprintf(at, "a"), fmt.Sprintf(at, "b"), fmt.Sprintf("%s-%d", name, i)})
		}
	}
	n := newTenant(t, "corpus", files)
	for _, c := range cases {
		for _, namespace := range []string{c.ours, c.theirs} {
			if err := world.Namespace(within(t), namespace); err != nil {
				t.Fatal(err)
			}
		}
		n.apply(fmt.Sprintf(`apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: %s}
spec:
  interval: 1h
  releaseName: app
  targetNamespace: %s
  storageNamespace: %s
  install: {disableWait: true}
  chart: {spec: {chart: ./%s, sourceRef: {kind: GitRepository, name: %s}}}
  values: %s
`, c.name, c.ours, c.ours, c.chart, harness.SourceName, inline(t, c.values)))
	}
	made := map[string]*helmrelease.Release{}
	for _, c := range cases { // one after another: the SDK shares what it knows of the cluster
		install := action.NewInstall(sdk(t, c.theirs))
		install.ReleaseName, install.Namespace = "app", c.theirs
		release, err := install.Run(chartInFolder(t, corpus[c.chart].Files), valuesOf(t, c.values))
		if err != nil {
			t.Logf("%s: helm install: %v", c.name, err)
			continue
		}
		made[c.name] = release
	}
	objects := 0
	for _, c := range cases {
		if made[c.name] == nil { // what the SDK cannot install, Sluice cannot
			n.await(releaseKind, c.name, says("Released", "False", "InstallFailed", ""))
			continue
		}
		n.ready(c.name)
		got, err := action.NewGet(sdk(t, c.ours)).Run("app")
		if err != nil {
			t.Fatal(err)
		}
		want := made[c.name]
		manifest := withoutOrigin(t, strings.ReplaceAll(got.Manifest, c.ours, c.theirs))
		if diff := cmp.Diff(withoutOrigin(t, want.Manifest), manifest); diff != "" {
			t.Errorf("%s: the manifest (-helm +sluice):\n%s", c.name, diff)
			continue
		}
		for _, wanted := range append(parsed(t, want.Manifest), hooksOf(t, want)...) {
			objects++
			c.compare(t, wanted)
		}
	}
	t.Logf("%d sets of values, %d installed, %d objects", len(cases), len(made), objects)
	if len(made) < 25 || objects < 100 {
		t.Errorf("only %d installed and %d objects", len(made), objects)
	}
}

// chartInFolder loads a chart as the helm command does.
func chartInFolder(t *testing.T, files map[string]string) *chart.Chart {
	t.Helper()
	folder := t.TempDir()
	for name, body := range files {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := loader.LoadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// compare compares an object of the SDK's release with the one that Sluice made in its place.
func (c installed) compare(t *testing.T, wanted *unstructured.Unstructured) {
	t.Helper()
	kind := wanted.GroupVersionKind()
	name := strings.ReplaceAll(wanted.GetName(), c.theirs, c.ours)
	theirs, err := live(t.Context(), kind, c.theirs, wanted.GetName())
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	ours, err := live(t.Context(), kind, c.ours, name)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	if diff := cmp.Diff(settledForm(t, theirs, "", ""), settledForm(t, ours, c.ours, c.theirs)); diff != "" {
		t.Errorf("%s: %s %s (-helm +sluice):\n%s", c.name, kind.Kind, name, diff)
	}
}

// live reads an object; nil when there is none.
func live(ctx context.Context, kind schema.GroupVersionKind, namespace, name string) (*unstructured.Unstructured, error) {
	u, err := world.Cluster.Get(ctx, kind, namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return u, err
}

// settledForm is an object without what is each object's own, and without what controllers write. What
// Sluice adds on purpose, as Flux does, are the labels that name the HelmRelease.
func settledForm(t *testing.T, u *unstructured.Unstructured, from, to string) map[string]any {
	t.Helper()
	if u == nil {
		return nil
	}
	u = u.DeepCopy()
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "finalizers", "deletionTimestamp", "deletionGracePeriodSeconds"} {
		unstructured.RemoveNestedField(u.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(u.Object, "status")
	for _, path := range [][]string{
		{"metadata", "labels", "helm.toolkit.fluxcd.io/name"}, {"metadata", "labels", "helm.toolkit.fluxcd.io/namespace"},
		{"metadata", "annotations", "deployment.kubernetes.io/revision"}, {"metadata", "annotations", "deprecated.daemonset.template.generation"},
	} {
		unstructured.RemoveNestedField(u.Object, path...)
	}
	switch u.GetKind() {
	case "Service": // addresses and ports that are allocated
		if ip, _, _ := unstructured.NestedString(u.Object, "spec", "clusterIP"); ip != "None" {
			unstructured.RemoveNestedField(u.Object, "spec", "clusterIP")
			unstructured.RemoveNestedField(u.Object, "spec", "clusterIPs")
		}
		unstructured.RemoveNestedField(u.Object, "spec", "healthCheckNodePort")
		ports, _, _ := unstructured.NestedSlice(u.Object, "spec", "ports")
		for _, p := range ports {
			delete(p.(map[string]any), "nodePort")
		}
		if ports != nil {
			if err := unstructured.SetNestedSlice(u.Object, ports, "spec", "ports"); err != nil {
				t.Fatal(err)
			}
		}
	case "Job": // what names its Pods
		unstructured.RemoveNestedField(u.Object, "spec", "selector")
		unstructured.RemoveNestedField(u.Object, "spec", "template", "metadata", "labels")
		unstructured.RemoveNestedField(u.Object, "metadata", "labels")
	}
	for _, empty := range []string{"labels", "annotations"} {
		if m, ok, _ := unstructured.NestedMap(u.Object, "metadata", empty); ok && len(m) == 0 {
			unstructured.RemoveNestedField(u.Object, "metadata", empty)
		}
	}
	body, err := json.Marshal(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	if from != "" {
		body = []byte(strings.ReplaceAll(string(body), from, to))
	}
	out := map[string]any{}
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// withoutOrigin is a manifest as its objects, without the labels that name the HelmRelease.
func withoutOrigin(t *testing.T, manifest string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, u := range parsed(t, manifest) {
		out = append(out, settledForm(t, u, "", ""))
	}
	return out
}

func parsed(t *testing.T, manifest string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := harness.Objects([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for _, o := range objects {
		if !o.IsList() {
			out = append(out, o)
			continue
		}
		list, err := o.ToList()
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			out = append(out, &list.Items[i])
		}
	}
	return out
}

// hooksOf are the objects of an install's hooks; they are there or not, as their policies say.
func hooksOf(t *testing.T, r *helmrelease.Release) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, h := range r.Hooks {
		out = append(out, parsed(t, h.Manifest)...)
	}
	return out
}

func valuesOf(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// inline writes values so that they fit on a line of a manifest.
func inline(t *testing.T, text string) string {
	t.Helper()
	body, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if string(body) == "null" {
		return "{}"
	}
	return string(body)
}
