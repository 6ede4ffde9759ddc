package helm

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"
)

// capabilities are what templates see as .Capabilities.
func (c Cluster) capabilities() *chartutil.Capabilities {
	return &chartutil.Capabilities{
		KubeVersion: chartutil.KubeVersion{Version: c.Version, Major: c.Major, Minor: c.Minor},
		APIVersions: append(chartutil.VersionSet(nil), c.APIVersions...),
		HelmVersion: chartutil.DefaultCapabilities.HelmVersion,
	}
}

// definition is what matters of a CustomResourceDefinition here.
type definition struct {
	Kind string `json:"kind"`
	Spec struct {
		Group string `json:"group"`
		Names struct {
			Kind string `json:"kind"`
		} `json:"names"`
		Versions []struct {
			Name   string `json:"name"`
			Served bool   `json:"served"`
		} `json:"versions"`
	} `json:"spec"`
}

// kindsOf names what CRDs, as plain writes them, will serve, which templates may ask for: they are made before the rest.
// What is no CRD is told when it is applied.
func kindsOf(crds []*chart.File) []string {
	var out []string
	for _, crd := range crds {
		for body := range strings.SplitSeq(string(crd.Data), "\n---\n") {
			var d definition
			if err := yaml.Unmarshal([]byte(body), &d); err != nil || d.Kind != "CustomResourceDefinition" {
				continue
			}
			for _, v := range d.Spec.Versions {
				if v.Served {
					gv := d.Spec.Group + "/" + v.Name
					out = append(out, gv, gv+"/"+d.Spec.Names.Kind)
				}
			}
		}
	}
	return out
}

// VersionError says that the version of a chart does not go with the tag and the digest that the chart came by.
type VersionError struct{ err error }

// Error implements error.
func (e *VersionError) Error() string { return e.err.Error() }

// Unwrap implements error.
func (e *VersionError) Unwrap() error { return e.err }

var hexDigest = regexp.MustCompile(`^[0-9a-f]{12,}$`)

// stamp puts the first 12 hex digits of a digest into a chart's version as its build
// metadata, so that a moved tag is another version. A tag that is a version must be the
// chart's. An empty digest changes nothing.
func stamp(c *chart.Chart, tag, digest string) error {
	if digest == "" {
		return nil
	}
	if !hexDigest.MatchString(digest) {
		return errors.New("the artifact's revision has no digest")
	}
	version, err := semver.NewVersion(c.Metadata.Version)
	if err != nil {
		return err
	}
	if tagged, err := semver.NewVersion(tag); err == nil && !tagged.Equal(version) {
		return fmt.Errorf("artifact revision %s does not match chart version %s", tag, c.Metadata.Version)
	}
	stamped, err := version.SetMetadata(digest[:12])
	if err != nil {
		return err
	}
	c.Metadata.Version = stamped.String()
	return nil
}
