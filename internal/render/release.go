package render

import (
	"encoding/json"
	"fmt"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"
)

// The Helm actions that a release is rendered for.
const (
	Install = "install"
	Upgrade = "upgrade"
)

// Release is a rendered Helm release.
type Release struct {
	// Release is as Helm stores it: name, namespace, version, chart, config (the values that
	// were set), manifest, hooks and notes. It has no status and no times.
	*release.Release
	// Action is what templates were told: Install or Upgrade.
	Action string
	// CRDs are the files under crds/ of the chart and its enabled subcharts.
	CRDs []*chart.File
}

type wireRelease struct {
	Action  string           `json:"action"`
	Release *release.Release `json:"release"`
	CRDs    []*chart.File    `json:"crds,omitempty"`
}

// EncodeRelease writes a release as JSON with sorted keys.
func EncodeRelease(r Release) ([]byte, error) {
	body, err := json.Marshal(wireRelease{Action: r.Action, Release: r.Release, CRDs: r.CRDs})
	if err != nil {
		return nil, fmt.Errorf("encode release %s/%s: %w", r.Namespace, r.Name, err)
	}
	return body, nil
}

// DecodeRelease reads what EncodeRelease wrote.
func DecodeRelease(body []byte) (Release, error) {
	var w wireRelease
	if err := json.Unmarshal(body, &w); err != nil {
		return Release{}, fmt.Errorf("decode release: %w", err)
	}
	if w.Release == nil || w.Release.Chart == nil || w.Release.Info == nil {
		return Release{}, fmt.Errorf("decode release: it has no chart or no notes")
	}
	return Release{Release: w.Release, Action: w.Action, CRDs: w.CRDs}, nil
}
