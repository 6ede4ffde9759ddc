package verdict

import (
	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	helmrelease "helm.sh/helm/v3/pkg/release"

	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
)

// State is how a release stands.
type State string

// The states, as helm-controller names them.
const (
	Absent    State = "Absent"
	Locked    State = "Locked"
	Unmanaged State = "Unmanaged"
	OutOfSync State = "OutOfSync"
	Untested  State = "Untested"
	Failed    State = "Failed"
	InSync    State = "InSync"
)

// Wanted is what a HelmRelease asks for.
type Wanted struct {
	ChartName, ChartVersion string
	ConfigDigest            string
	// PostRenderers and CommonMetadata are the digests of these parts of the spec.
	PostRenderers, CommonMetadata string
}

// Of returns the state of a release and what tells it. all are its revisions, oldest first.
func Of(hr *helmv2.HelmRelease, all []*helmstore.Record, w Wanted) (State, string, error) {
	if len(all) == 0 {
		return Absent, "no release in storage for object", nil
	}
	last := all[len(all)-1]
	switch status := last.Info.Status; {
	case status == helmrelease.StatusUninstalled:
		return Absent, "the release is uninstalled", nil
	case status.IsPending(), status == helmrelease.StatusUninstalling:
		return Locked, "release with status '" + status.String() + "'", nil
	}
	current := hr.Status.History.Latest()
	if current == nil || !current.Targets(last.Name, last.Namespace, last.Version) {
		return Unmanaged, "release is not managed by this object", nil
	}
	sum, err := Digest(last)
	if err != nil {
		return "", "", err
	}
	if sum != current.Digest {
		return Unmanaged, "release was changed by somebody else", nil
	}
	if last.Info.Status == helmrelease.StatusFailed {
		return Failed, "release is in a failed state", nil
	}
	if last.Info.Status == helmrelease.StatusDeployed {
		return deployed(hr, last, current, w)
	}
	return Unmanaged, "release has status '" + last.Info.Status.String() + "'", nil
}

// deployed compares a deployed release with what is wanted.
func deployed(hr *helmv2.HelmRelease, last *helmstore.Record, current *helmv2.Snapshot, w Wanted) (State, string, error) {
	have := last.Chart.Metadata
	config, err := ConfigDigest(last.Config)
	if err != nil {
		return "", "", err
	}
	switch {
	case have.Name != w.ChartName:
		return OutOfSync, "chart name is '" + have.Name + "', want '" + w.ChartName + "'", nil
	case have.Version != w.ChartVersion:
		return OutOfSync, "chart version is '" + have.Version + "', want '" + w.ChartVersion + "'", nil
	case config != w.ConfigDigest:
		return OutOfSync, "values are other than those of the release", nil
	case hr.Status.ObservedPostRenderersDigest != w.PostRenderers && hr.Generation != hr.Status.ObservedGeneration:
		return OutOfSync, "post-renderers are other than those of the release", nil
	case hr.Status.ObservedCommonMetadataDigest != w.CommonMetadata && hr.Generation != hr.Status.ObservedGeneration:
		return OutOfSync, "common metadata is other than that of the release", nil
	}
	test := hr.GetTest()
	if !test.Enable {
		return InSync, "", nil
	}
	if !current.HasBeenTested() {
		return Untested, "release has not been tested", nil
	}
	ignore := test.IgnoreFailures
	if remediation := hr.GetActiveRemediation(); remediation != nil {
		ignore = remediation.MustIgnoreTestFailures(test.IgnoreFailures)
	}
	if current.HasTestInPhase(string(helmrelease.HookPhaseFailed)) && !ignore {
		return Failed, "release has failed tests", nil
	}
	return InSync, "", nil
}
