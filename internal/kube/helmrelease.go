package kube

import (
	"crypto/sha256"
	"encoding/hex"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"
)

// longestReleaseName is how long the name of a Helm release may be.
const longestReleaseName = 53

// ReleaseName returns the name of a HelmRelease's Helm release. One that is too long is cut
// and ends with the first 12 hex digits of the SHA-256 of the whole, as in Flux.
func ReleaseName(hr *helmv2.HelmRelease) string {
	name := hr.GetReleaseName()
	if len(name) <= longestReleaseName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:40] + "-" + hex.EncodeToString(sum[:])[:12]
}

// ChartSource names the object whose artifact is a HelmRelease's chart: the one of
// spec.chartRef, or the HelmChart that is made for spec.chart.
func ChartSource(hr *helmv2.HelmRelease) (kind string, name types.NamespacedName) {
	if ref := hr.Spec.ChartRef; ref != nil {
		namespace := ref.Namespace
		if namespace == "" {
			namespace = hr.Namespace
		}
		return ref.Kind, types.NamespacedName{Namespace: namespace, Name: ref.Name}
	}
	namespace := hr.Namespace
	if hr.Spec.Chart != nil {
		namespace = hr.Spec.Chart.GetNamespace(hr.Namespace)
	}
	return sourcev1.HelmChartKind, types.NamespacedName{Namespace: namespace, Name: hr.GetHelmChartName()}
}

// InstallCRDs is what an install does with the chart's definitions: spec.install.crds, or, where that is empty,
// Skip if the deprecated skipCRDs says so. Empty is Create.
func InstallCRDs(hr *helmv2.HelmRelease) helmv2.CRDsPolicy {
	install := hr.GetInstall()
	if install.CRDs == "" && install.SkipCRDs {
		return helmv2.Skip
	}
	return install.CRDs
}

// ReleaseDigest returns the digest of what a HelmRelease says about the render of its chart,
// beside the chart and what is in the objects that values are from. What it says about running the
// release is not in it, so that a new interval or timeout renders nothing: a chart may draw random
// values each time.
func ReleaseDigest(hr *helmv2.HelmRelease) (string, error) {
	kind, source := ChartSource(hr)
	return SpecDigest(struct {
		Source, Name, Namespace string
		PostRenderers           []helmv2.PostRenderer
		Strategy                helmv2.PostRenderStrategy
		CommonMetadata          *helmv2.CommonMetadata
		Values                  any
		ValuesFrom              []helmv2.ValuesReference
		Install, Upgrade        renderSwitches
	}{
		Source: kind + "/" + source.String(), Name: ReleaseName(hr), Namespace: hr.GetReleaseNamespace(),
		PostRenderers: hr.Spec.PostRenderers, Strategy: hr.GetPostRenderStrategy(), CommonMetadata: hr.Spec.CommonMetadata,
		Values: hr.Spec.Values, ValuesFrom: hr.Spec.ValuesFrom,
		Install: renderSwitches{InstallCRDs(hr), hr.GetInstall().DisableSchemaValidation, false},
		Upgrade: renderSwitches{hr.GetUpgrade().CRDs, hr.GetUpgrade().DisableSchemaValidation, hr.GetUpgrade().PreserveValues},
	})
}

// renderSwitches are what an action says about rendering.
type renderSwitches struct {
	CRDs                    helmv2.CRDsPolicy
	DisableSchemaValidation bool
	PreserveValues          bool
}

// ReleaseDependencies names the HelmReleases that one depends on.
func ReleaseDependencies(hr *helmv2.HelmRelease) []types.NamespacedName {
	out := make([]types.NamespacedName, len(hr.Spec.DependsOn))
	for i, d := range hr.Spec.DependsOn {
		out[i] = types.NamespacedName{Namespace: d.Namespace, Name: d.Name}
		if d.Namespace == "" {
			out[i].Namespace = hr.Namespace
		}
	}
	return out
}
