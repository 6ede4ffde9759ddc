package verdict

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
)

// ConfigDigest returns sha256:<hex> of values as YAML with sorted keys; none are as no text.
func ConfigDigest(values map[string]any) (string, error) {
	var body []byte
	if len(values) > 0 {
		var err error
		if body, err = yaml.Marshal(values); err != nil {
			return "", fmt.Errorf("digest values: %w", err)
		}
	}
	return digest(body), nil
}

// SpecDigest returns sha256:<hex> of a part of a spec as JSON, or nothing when there is none.
func SpecDigest[T any](part T, none bool) (string, error) {
	if none {
		return "", nil
	}
	body, err := json.Marshal(part)
	if err != nil {
		return "", fmt.Errorf("digest spec: %w", err)
	}
	return digest(body), nil
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// observation is what a snapshot's digest covers of a release.
type observation struct {
	Name          string              `json:"name"`
	Version       int                 `json:"version"`
	Info          *helmrelease.Info   `json:"info"`
	ChartMetadata *chart.Metadata     `json:"chartMetadata"`
	Config        map[string]any      `json:"config"`
	Manifest      string              `json:"manifest"`
	Hooks         []*helmrelease.Hook `json:"hooks"`
	Namespace     string              `json:"namespace"`
	Labels        map[string]string   `json:"labels"`
}

// Digest returns the digest of a stored release. The runs of its tests are left out: they
// are written after the release is.
func Digest(r *helmstore.Record) (string, error) {
	hooks := make([]*helmrelease.Hook, len(r.Hooks))
	for i, h := range r.Hooks {
		hook := *h
		hook.LastRun = helmrelease.HookExecution{}
		hooks[i] = &hook
	}
	body, err := json.Marshal(observation{
		Name: r.Name, Version: r.Version, Info: r.Info, ChartMetadata: r.Chart.Metadata, Config: r.Config,
		Manifest: r.Manifest, Hooks: hooks, Namespace: r.Namespace, Labels: r.Labels,
	})
	if err != nil {
		return "", fmt.Errorf("digest release %s/%s.v%d: %w", r.Namespace, r.Name, r.Version, err)
	}
	return digest(body), nil
}

// Snapshot describes a stored release as a status keeps it.
func Snapshot(r *helmstore.Record, action helmv2.ReleaseAction) (*helmv2.Snapshot, error) {
	sum, err := Digest(r)
	if err != nil {
		return nil, err
	}
	config, err := ConfigDigest(r.Config)
	if err != nil {
		return nil, err
	}
	s := &helmv2.Snapshot{
		APIVersion: helmv2.CurrentSnapshotAPIVersion, Digest: sum, Name: r.Name, Namespace: r.Namespace, Version: r.Version,
		Status: r.Info.Status.String(), Action: action, ConfigDigest: config,
		FirstDeployed: metav1.NewTime(r.Info.FirstDeployed.Time), LastDeployed: metav1.NewTime(r.Info.LastDeployed.Time),
		Deleted: metav1.NewTime(r.Info.Deleted.Time),
	}
	if m := r.Chart.Metadata; m != nil {
		s.ChartName, s.ChartVersion, s.AppVersion = m.Name, m.Version, m.AppVersion
	}
	return s, nil
}

// Knows says whether a history has a stored release just as it is.
func Knows(history helmv2.Snapshots, r *helmstore.Record) (bool, error) {
	for _, s := range history {
		if s.Targets(r.Name, r.Namespace, r.Version) {
			sum, err := Digest(r)
			return sum == s.Digest, err
		}
	}
	return false, nil
}

// updated returns a snapshot with the status that its revision has by now; as it is, when anything else changed.
func updated(s *helmv2.Snapshot, r *helmstore.Record) (*helmv2.Snapshot, error) {
	was, info := *r, *r.Info
	release := *r.Release
	was.Release, release.Info = &release, &info
	info.Status = helmrelease.Status(s.Status)
	sum, err := Digest(&was)
	if err != nil || sum != s.Digest {
		return s, err
	}
	now, err := Snapshot(r, s.Action)
	if err != nil {
		return nil, err
	}
	now.TestHooks, now.OCIDigest = s.TestHooks, s.OCIDigest
	return now, nil
}

// Keep puts a snapshot into a history in place of the one of its revision, and those of the
// other stored revisions up to date.
func Keep(history helmv2.Snapshots, latest *helmv2.Snapshot, all []*helmstore.Record) (helmv2.Snapshots, error) {
	var out helmv2.Snapshots
	for _, s := range history {
		if s.Version == latest.Version && s.Name == latest.Name && s.Namespace == latest.Namespace {
			latest.TestHooks = s.TestHooks
			if latest.Action == "" {
				latest.Action = s.Action
			}
			continue
		}
		for _, r := range all {
			if r.Outline || !s.Targets(r.Name, r.Namespace, r.Version) || s.Status == r.Info.Status.String() {
				continue
			}
			now, err := updated(s, r)
			if err != nil {
				return nil, err
			}
			s = now
		}
		out = append(out, s)
	}
	out = append(out, latest)
	out.SortByVersion()
	return out, nil
}
