package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // the registry's storage
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// registryHost starts a registry and returns its address.
func registryHost(t *testing.T) string {
	t.Helper()
	config := &configuration.Configuration{Storage: configuration.Storage{"inmemory": configuration.Parameters{}}}
	config.Log.Level, config.Log.AccessLog.Disabled, config.HTTP.Secret = "panic", true, "a secret of the test"
	server := httptest.NewServer(handlers.NewApp(t.Context(), config))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// packed is a chart as helm packs it.
func packed(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var archive bytes.Buffer
	zip := gzip.NewWriter(&archive)
	entries := tar.NewWriter(zip)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := entries.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name]))})
		if err == nil {
			_, err = entries.Write([]byte(files[name]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := entries.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// pushChart pushes a chart as helm does, and returns the hexadecimal digest of its manifest.
func pushChart(t *testing.T, reference string, files map[string]string) string {
	t.Helper()
	const layer = types.MediaType("application/vnd.cncf.helm.chart.content.v1.tar+gzip")
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.cncf.helm.config.v1+json")
	image, err := mutate.Append(image, mutate.Addendum{Layer: static.NewLayer(packed(t, files), layer), MediaType: layer})
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(reference, name.Insecure)
	if err == nil {
		err = remote.Write(tag, image, remote.WithContext(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.Hex
}

// TestFromHelmChart releases a HelmChart that somebody made.
func TestFromHelmChart(t *testing.T) {
	n := newTenant(t, "from-chart", webChart())
	n.apply(fmt.Sprintf(`apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmChart
metadata: {name: mine}
spec: {interval: 1h, chart: ./web, sourceRef: {kind: GitRepository, name: %s}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: web}
spec:
  interval: 1h
  chartRef: {kind: HelmChart, name: mine}
`, harness.SourceName))
	n.ready("web")
	n.await(harness.ConfigMapKind, "web", holds("message", "default"))
	if err := n.Delete(within(t), releaseKind, "web"); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "web", gone)
	n.await(chartKind, "mine", exists) // it is not the release's
}

// TestFromOCIRepository releases charts of a registry by tag: the digest is in the version, another tag upgrades,
// and so does a tag that moves.
func TestFromOCIRepository(t *testing.T) {
	n := newTenant(t, "from-oci", webChart())
	host := registryHost(t)
	first := pushChart(t, host+"/charts/web:0.1.0", webChart())
	newer := webChart()
	newer["web/Chart.yaml"] = strings.Replace(newer["web/Chart.yaml"], "0.1.0", "0.2.0", 1)
	newer["web/values.yaml"] = strings.Replace(newer["web/values.yaml"], "default", "newer", 1)
	second := pushChart(t, host+"/charts/web:0.2.0", newer)
	repository := func(tag string) string {
		return fmt.Sprintf("apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {name: charts}\nspec: {interval: 1h, insecure: true, url: oci://%s/charts/web, ref: {tag: %s}}\n", host, tag)
	}
	n.apply(repository("0.1.0"))
	n.apply(`apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: web}
spec:
  interval: 1h
  chartRef: {kind: OCIRepository, name: charts}
`)
	n.await(releaseKind, "web", all(says("Ready", "True", "InstallSucceeded", "web.v1 with chart web@0.1.0+"+first[:12]), says("Released", "True", "InstallSucceeded", ""), current))
	n.apply(repository("0.2.0"))
	n.await(releaseKind, "web", all(says("Ready", "True", "UpgradeSucceeded", "web.v2 with chart web@0.2.0+"+second[:12]), says("Released", "True", "UpgradeSucceeded", "")))
	n.await(harness.ConfigMapKind, "web", holds("message", "newer"))

	newer["web/values.yaml"] = strings.Replace(newer["web/values.yaml"], "newer", "moved", 1)
	moved := pushChart(t, host+"/charts/web:0.2.0", newer)
	n.patch(sourceKind, "charts", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`)
	n.await(releaseKind, "web", says("Ready", "True", "UpgradeSucceeded", "web.v3 with chart web@0.2.0+"+moved[:12]))
	n.await(harness.ConfigMapKind, "web", holds("message", "moved"))
}

// TestUnusableCharts says what is wrong with an artifact that holds another version than its tag says, or no chart. Neither
// is a release that failed.
func TestUnusableCharts(t *testing.T) {
	n := newTenant(t, "unusable", webChart())
	host := registryHost(t)
	pushChart(t, host+"/charts/web:9.9.9", webChart())
	pushChart(t, host+"/charts/nothing:1.0.0", map[string]string{"nothing/README.md": "no chart"})
	for name, c := range map[string]struct{ tag, reason, says string }{
		"web":     {"9.9.9", "ChartMutateError", "artifact revision 9.9.9 does not match chart version 0.1.0"},
		"nothing": {"1.0.0", "ArtifactFailed", "Could not load chart"},
	} {
		n.apply(fmt.Sprintf("apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {name: %[1]s}\nspec: {interval: 1h, insecure: true, url: oci://%[2]s/charts/%[1]s, ref: {tag: %[3]s}}\n"+
			"---\napiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: %[1]s}\nspec: {interval: 1h, chartRef: {kind: OCIRepository, name: %[1]s}}\n", name, host, c.tag))
		u := n.await(releaseKind, name, says("Ready", "False", c.reason, c.says))
		failures, _, _ := unstructured.NestedInt64(u.Object, "status", "failures")
		if released, _, _ := harness.Condition(u, "Released"); released != "" || failures != 0 {
			t.Errorf("it counts as %d failures of a release: %s", failures, harness.Describe(u))
		}
	}
	good := webChart()
	good["web/Chart.yaml"] = strings.Replace(good["web/Chart.yaml"], "0.1.0", "9.9.9", 1)
	pushChart(t, host+"/charts/web:9.9.9", good)
	n.patch(sourceKind, "web", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`)
	n.ready("web")
}

// chartRepository serves packed charts and an index of them.
func chartRepository(t *testing.T, charts map[string]map[string]string) (address string) {
	t.Helper()
	index := "apiVersion: v1\nentries:\n  web:\n"
	mux := http.NewServeMux()
	for version, files := range charts {
		body := packed(t, files)
		index += fmt.Sprintf("  - {apiVersion: v2, name: web, version: %s, digest: %x, urls: [web-%s.tgz]}\n", version, sha256.Sum256(body), version)
		mux.HandleFunc("/web-"+version+".tgz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	}
	mux.HandleFunc("/index.yaml", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(index)) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// TestFromHelmRepository releases charts of a Helm repository by version, takes the chart from elsewhere when the spec says so,
// and leaves no HelmChart behind that nobody needs.
func TestFromHelmRepository(t *testing.T) {
	n := newTenant(t, "from-repository", webChart())
	newer := webChart()
	newer["web/Chart.yaml"] = strings.Replace(newer["web/Chart.yaml"], "0.1.0", "0.2.0", 1)
	n.apply(fmt.Sprintf("apiVersion: source.toolkit.fluxcd.io/v1\nkind: HelmRepository\nmetadata: {name: charts}\nspec: {interval: 1h, url: %s}\n",
		chartRepository(t, map[string]map[string]string{"0.1.0": webChart(), "0.2.0": newer})))
	release := func(spec string) {
		n.apply("apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web}\nspec:\n  interval: 1h\n" + indent(spec))
	}
	from := func(version string) string {
		return "chart: {spec: {chart: web, version: " + version + ", sourceRef: {kind: HelmRepository, name: charts}}}\n"
	}
	made := n.Namespace + "-web"
	release(from("0.1.0"))
	n.await(releaseKind, "web", all(says("Ready", "True", "InstallSucceeded", "web.v1 with chart web@0.1.0"), current))
	release(from("0.2.0"))
	n.await(releaseKind, "web", all(says("Ready", "True", "UpgradeSucceeded", "web.v2 with chart web@0.2.0"), current))
	n.await(chartKind, made, func(u *unstructured.Unstructured) bool {
		version, _, _ := unstructured.NestedString(u.Object, "spec", "version")
		return version == "0.2.0" && u.GetLabels()["helm.toolkit.fluxcd.io/name"] == "web"
	})

	n.apply("apiVersion: source.toolkit.fluxcd.io/v1\nkind: HelmChart\nmetadata: {name: mine}\nspec: {interval: 1h, chart: ./web, sourceRef: {kind: GitRepository, name: " + harness.SourceName + "}}\n")
	release("chartRef: {kind: HelmChart, name: mine}\n")
	u := n.await(releaseKind, "web", all(says("Ready", "True", "UpgradeSucceeded", "web.v3 with chart web@0.1.0"), current))
	n.await(chartKind, made, gone)
	if of, _, _ := unstructured.NestedString(u.Object, "status", "helmChart"); of != "" {
		t.Errorf("status.helmChart is still %q", of)
	}
	release(from("0.2.0"))
	n.await(releaseKind, "web", all(says("Ready", "True", "UpgradeSucceeded", "web.v4 with chart web@0.2.0"), current))
	n.await(chartKind, made, exists)
	n.await(chartKind, "mine", exists)
}

// TestRestricted is a process that allows no references to other namespaces, and ExternalArtifacts, and for which no
// expression takes the place of the usual check of a dependency.
func TestRestricted(t *testing.T) {
	shared := world
	own, err := harness.NewWorld(t.Context(), harness.WorldOptions{Token: "helm-only-token", SluiceArgs: []string{"--no-cross-namespace-refs", "--external-artifacts", "--additive-cel-dependency-check"}})
	if err != nil {
		t.Fatal(err)
	}
	world = own
	t.Cleanup(func() {
		world = shared
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	n := newTenant(t, "restricted", webChart())
	release := func(name, spec string) {
		n.apply("apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: " + name + "}\nspec:\n  interval: 1h\n" + indent(spec))
	}
	t.Run("chart of another namespace", func(t *testing.T) {
		n := tenant{n.Tenant, t}
		release("template", "chart: {spec: {chart: web, sourceRef: {kind: GitRepository, name: apps, namespace: default}}}\n")
		release("reference", "chartRef: {kind: OCIRepository, name: apps, namespace: default}\n")
		for _, name := range []string{"template", "reference"} {
			n.await(releaseKind, name, all(says("Ready", "False", "AccessDenied", "cross-namespace references have been blocked"),
				says("Stalled", "True", "AccessDenied", ""), current))
		}
		if _, err := n.Cluster.Get(within(t), chartKind, "default", n.Namespace+"-template"); !apierrors.IsNotFound(err) {
			t.Errorf("the HelmChart in the other namespace: %v", err)
		}
	})
	t.Run("additive readyExpr", func(t *testing.T) {
		n := tenant{n.Tenant, t}
		n.release("backend", "web", "suspend: true\n")
		n.release("frontend", "web", "dependsOn: [{name: backend, readyExpr: 'true'}]\n")
		n.await(releaseKind, "frontend", says("Ready", "False", "DependencyNotReady", "dependency '"+n.Namespace+"/backend' is not ready"))
		n.patch(releaseKind, "backend", `{"spec":{"suspend":false}}`)
		n.ready("frontend")
	})
	t.Run("ExternalArtifact", func(t *testing.T) {
		n := tenant{n.Tenant, t}
		n.apply(`apiVersion: source.extensions.fluxcd.io/v1beta1
kind: ArtifactGenerator
metadata: {name: charts}
spec:
  sources: [{alias: apps, kind: GitRepository, name: ` + harness.SourceName + `}]
  artifacts: [{name: web, originRevision: "@apps", copy: [{from: "@apps/web/**", to: "@artifact/web/"}]}]
`)
		release("composed", "chartRef: {kind: ExternalArtifact, name: web}\n")
		n.await(releaseKind, "composed", all(says("Ready", "True", "InstallSucceeded", "composed.v1 with chart web@0.1.0"), current))
		if err := n.Push(within(t), map[string]string{"web/Chart.yaml": strings.Replace(webChart()["web/Chart.yaml"], "0.1.0", "0.2.0", 1)}); err != nil {
			t.Fatal(err)
		}
		n.await(releaseKind, "composed", says("Ready", "True", "UpgradeSucceeded", "composed.v2 with chart web@0.2.0"))
		if err := n.Delete(within(t), releaseKind, "composed"); err != nil {
			t.Fatal(err)
		}
		n.await(releaseKind, "composed", gone)
	})
}

// TestUnmadeChart says why the HelmChart of a release cannot be made, and makes it once that is mended.
func TestUnmadeChart(t *testing.T) {
	n := newTenant(t, "unmade-chart", webChart())
	n.release("label", "web", "")
	n.ready("label")
	n.patch(releaseKind, "label", `{"spec":{"chart":{"metadata":{"labels":{"team":"no label!"}}}}}`)
	n.await(releaseKind, "label", says("Ready", "False", "ArtifactFailed", "no label!"))
	n.told("label", "Warning", "ArtifactFailed", "apply HelmChart "+n.Namespace+"/"+n.Namespace+"-label: ")
	n.patch(releaseKind, "label", `{"spec":{"chart":{"metadata":{"labels":{"team":"one"}}}}}`)
	n.ready("label")
	n.release("namespace", "web", "")
	n.ready("namespace")
	n.patch(releaseKind, "namespace", `{"spec":{"chart":{"spec":{"sourceRef":{"namespace":"`+n.Namespace+`-typo"}}}}}`)
	n.await(releaseKind, "namespace", says("Ready", "False", "ArtifactFailed", n.Namespace+`-typo" not found`))
}
