package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
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

// pushChart pushes a chart as helm does, and returns the hexadecimal digest of its manifest.
func pushChart(t *testing.T, reference string, files map[string]string) string {
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
	const layer = types.MediaType("application/vnd.cncf.helm.chart.content.v1.tar+gzip")
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.cncf.helm.config.v1+json")
	image, err := mutate.Append(image, mutate.Addendum{Layer: static.NewLayer(archive.Bytes(), layer), MediaType: layer})
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
	n.await(releaseKind, "web", all(says("Ready", "True", "InstallSucceeded", "web.v1 with chart web@0.1.0+"+first[:12]), current))
	n.apply(repository("0.2.0"))
	n.await(releaseKind, "web", all(says("Ready", "True", "UpgradeSucceeded", "web.v2 with chart web@0.2.0+"+second[:12]), says("Released", "True", "UpgradeSucceeded", "")))
	n.await(harness.ConfigMapKind, "web", holds("message", "newer"))

	newer["web/values.yaml"] = strings.Replace(newer["web/values.yaml"], "newer", "moved", 1)
	moved := pushChart(t, host+"/charts/web:0.2.0", newer)
	n.patch(sourceKind, "charts", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`)
	n.await(releaseKind, "web", says("Ready", "True", "UpgradeSucceeded", "web.v3 with chart web@0.2.0+"+moved[:12]))
	n.await(harness.ConfigMapKind, "web", holds("message", "moved"))
}
