package helm

import (
	helmv2 "github.com/fluxcd/helm-controller/api/v2"

	"github.com/sluice-gitops/sluice/internal/render"
)

// Request says how a chart is rendered.
type Request struct {
	// Name and Namespace of the release.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Origin is the HelmRelease, which labels every object.
	Origin Origin `json:"origin"`
	// Action is render.Install or render.Upgrade; Revision is the one that the release gets.
	Action   string `json:"action"`
	Revision int    `json:"revision"`
	// Values are those that were set, without the chart's defaults. They may be secret.
	Values Values `json:"values,omitzero"`
	// Previous has an upgrade start from these values and defaults, as helm does with --reuse-values.
	Previous *render.Previous `json:"previous,omitempty"`
	// Cluster is what templates see of the target.
	Cluster Cluster `json:"cluster"`
	// Tag is the tag that the chart was pulled by; one that is a version must be the chart's.
	Tag string `json:"tag,omitempty"`
	// Digest replaces the build metadata of the chart's version; empty leaves it as it is.
	Digest string `json:"digest,omitempty"`
	// SkipSchema renders also what the chart's schema of values refuses.
	SkipSchema bool `json:"skipSchema,omitempty"`
	// SkipCRDs leaves the chart's own CRDs out of the render, and their kinds out of the served ones.
	SkipCRDs bool `json:"skipCRDs,omitempty"`
	// Found is what lookups found; what is not among it is asked for.
	Found []render.Found `json:"found,omitempty"`
	// PostRenderers, Strategy and CommonMetadata are the HelmRelease's.
	PostRenderers  []helmv2.PostRenderer     `json:"postRenderers,omitempty"`
	Strategy       helmv2.PostRenderStrategy `json:"strategy,omitempty"`
	CommonMetadata *helmv2.CommonMetadata    `json:"commonMetadata,omitempty"`
}

// Origin names a HelmRelease; an empty one labels nothing.
type Origin struct {
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// Cluster is a target's version and what it serves.
type Cluster render.Served
