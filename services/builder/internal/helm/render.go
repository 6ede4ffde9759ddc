package helm

import (
	"fmt"
	"path"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"

	"github.com/sluice-gitops/sluice/internal/render"
)

const notesFile = "NOTES.txt"

// Render renders a chart, which it leaves as it is. A *LookupError asks for what templates look
// up and the request has not, a *VersionError says that the chart is not of the version it came by, an ErrValues that the values cannot be put together;
// any other error is the chart's or the values' author's to fix. No error shows what Secrets hold.
func Render(loaded *chart.Chart, q Request) (render.Release, error) {
	out, err := rendered(loaded, q)
	return out, q.masked(err)
}

func rendered(loaded *chart.Chart, q Request) (render.Release, error) {
	c := clone(loaded)
	if err := stamp(c, q.Tag, q.Digest); err != nil {
		return render.Release{}, &VersionError{err}
	}
	values, err := q.Values.merged(q.Origin.Namespace)
	if err != nil {
		return render.Release{}, err
	}
	if q.Previous != nil && q.Action == render.Upgrade {
		values = chartutil.CoalesceTables(values, cloneMap(q.Previous.Config))
		c.Values = cloneMap(q.Previous.Values)
	}
	if err := chartutil.ProcessDependenciesWithMerge(c, values); err != nil {
		return render.Release{}, err
	}
	served := q.Cluster.capabilities()
	var crds []*chart.File
	if !q.SkipCRDs {
		if crds, err = plain(c.CRDObjects()); err != nil {
			return render.Release{}, err
		}
		served.APIVersions = append(served.APIVersions, kindsOf(crds)...)
	}
	if r := c.Metadata.KubeVersion; r != "" && !chartutil.IsCompatibleRange(r, served.KubeVersion.String()) {
		return render.Release{}, fmt.Errorf("chart requires kubeVersion: %s which is incompatible with Kubernetes %s", r, served.KubeVersion.Version)
	}
	top, err := chartutil.ToRenderValuesWithSchemaValidation(c, values, chartutil.ReleaseOptions{
		Name: q.Name, Namespace: q.Namespace, Revision: q.Revision,
		IsInstall: q.Action == render.Install, IsUpgrade: q.Action == render.Upgrade,
	}, served, q.SkipSchema)
	if err != nil {
		return render.Release{}, err
	}
	cluster := newLookups(q.Found)
	files, err := engine.RenderWithClientProvider(c, top, cluster)
	if cluster.tooMany() {
		return render.Release{}, errLookups
	}
	if len(cluster.missing) > 0 { // what came out, be it an error, may be other with their answers
		return render.Release{}, &LookupError{Lookups: cluster.missing}
	}
	if err != nil {
		return render.Release{}, err
	}
	notes := takeNotes(files, c.Name())
	if files, err = postRender(files, q); err != nil {
		return render.Release{}, fmt.Errorf("error while running post render on files: %w", err)
	}
	hooks, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return render.Release{}, err
	}
	return render.Release{
		Action: q.Action,
		Release: &release.Release{
			Name: q.Name, Namespace: q.Namespace, Version: q.Revision, Chart: c, Config: values,
			Manifest: printed(manifests), Hooks: hooks, Info: &release.Info{Notes: notes},
		},
		CRDs: crds,
	}, nil
}

// takeNotes removes all notes from the rendered files and returns the chart's own.
func takeNotes(files map[string]string, chartName string) string {
	notes := files[path.Join(chartName, "templates", notesFile)]
	for name := range files {
		if strings.HasSuffix(name, notesFile) {
			delete(files, name)
		}
	}
	return notes
}

// printed writes manifests as Helm stores them.
func printed(manifests []releaseutil.Manifest) string {
	var out strings.Builder
	for _, m := range manifests {
		fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", m.Name, m.Content)
	}
	return out.String()
}

// plain writes the files of CRDs anew, named with the folder of their chart: who applies them is not confined, and reads
// neither aliases nor what is no object.
func plain(crds []chart.CRD) ([]*chart.File, error) {
	var out []*chart.File
	for _, crd := range crds {
		documents, err := read(map[string]string{crd.Filename: string(crd.File.Data)})
		if err != nil {
			return nil, err
		}
		files, err := write(documents)
		if err != nil {
			return nil, err
		}
		if body, ok := files[crd.Filename]; ok {
			out = append(out, &chart.File{Name: crd.Filename, Data: []byte(body)})
		}
	}
	return out, nil
}

// Objects is how many documents a release has, hooks and CRDs left out.
func Objects(r render.Release) int { return len(releaseutil.SplitManifests(r.Manifest)) }
