package helm

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	fluxkustomize "github.com/fluxcd/pkg/apis/kustomize"
	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	kubefake "helm.sh/helm/v3/pkg/kube/fake"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/test/charts"
)

var aCluster = Cluster{
	Version: "v1.36.1", Major: "1", Minor: "36",
	APIVersions: []string{"v1", "apps/v1", "apps/v1/Deployment", "networking.k8s.io/v1", "networking.k8s.io/v1/Ingress"},
}

func buffered(files map[string]string) []*loader.BufferedFile {
	var out []*loader.BufferedFile
	for name, body := range files {
		out = append(out, &loader.BufferedFile{Name: name, Data: []byte(body)})
	}
	return out
}

func load(t *testing.T, files map[string]string) *chart.Chart {
	t.Helper()
	c, err := loader.LoadFiles(buffered(files))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func valuesOf(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// inline are values as a HelmRelease has them in its spec.
func inline(t *testing.T, values map[string]any) Values {
	t.Helper()
	body, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return Values{Inline: body}
}

// byHelm renders with the Helm SDK's own install or upgrade.
func byHelm(c *chart.Chart, values map[string]any, upgrade bool) (*release.Release, error) {
	config := &action.Configuration{
		Capabilities: aCluster.capabilities(), KubeClient: &kubefake.PrintingKubeClient{Out: io.Discard},
		Releases: storage.Init(driver.NewMemory()), Log: func(string, ...any) {},
	}
	if !upgrade {
		install := action.NewInstall(config)
		install.ReleaseName, install.Namespace, install.DryRun, install.DryRunOption = "app", "ns", true, "client"
		return install.Run(c, values)
	}
	before := &release.Release{
		Name: "app", Namespace: "ns", Version: 6, Chart: &chart.Chart{Metadata: &chart.Metadata{Name: "x", Version: "1.0.0"}},
		Info: &release.Info{Status: release.StatusDeployed},
	}
	if err := config.Releases.Create(before); err != nil {
		return nil, err
	}
	run := action.NewUpgrade(config)
	run.Namespace, run.DryRun, run.DryRunOption, run.ResetValues = "ns", true, "client", true
	return run.Run("app", c, values)
}

// TestPreserveLikeHelm holds an upgrade that preserves values equal to the SDK's with ReuseValues: values that
// were set before stay, and so do the defaults of the chart before.
func TestPreserveLikeHelm(t *testing.T) {
	corpus := charts.Corpus()
	for _, tt := range []struct{ why, chart, before, now string }{
		{"nothing is set now", "web", "replicas: 5\nenv: {a: b}\n", ""},
		{"another is set", "web", "replicas: 5\n", "image: {tag: \"2\"}\n"},
		{"the same is set again, and a map is merged", "web", "replicas: 5\nenv: {a: b, c: d}\n", "replicas: 3\nenv: {c: e}\n"},
		{"a null takes away what was set", "web", "replicas: 5\nenv: {a: b}\n", "env: null\n"},
		{"of a subchart", "umbrella", "front: {enabled: false}\n", "back: {global: {zone: x}}\n"},
		{"nothing was set", "cache", "", "port: 7000\n"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			older := load(t, corpus[tt.chart].Files)
			older.Metadata.Version, older.Values["added"] = "0.0.1", "before"
			config := &action.Configuration{
				Capabilities: aCluster.capabilities(), KubeClient: &kubefake.PrintingKubeClient{Out: io.Discard},
				Releases: storage.Init(driver.NewMemory()), Log: func(string, ...any) {},
			}
			install := action.NewInstall(config)
			install.ReleaseName, install.Namespace = "app", "ns"
			made, err := install.Run(older, valuesOf(t, tt.before))
			if err != nil {
				t.Fatal(err)
			}
			upgrade := action.NewUpgrade(config)
			upgrade.Namespace, upgrade.ReuseValues = "ns", true
			stored, err := config.Releases.Last("app")
			if err != nil {
				t.Fatal(err)
			}
			values, err := chartutil.CoalesceValues(stored.Chart, stored.Config)
			if err != nil {
				t.Fatal(err)
			}
			previous := &render.Previous{Config: made.Config, Values: values}
			got, err := Render(load(t, corpus[tt.chart].Files), Request{
				Name: "app", Namespace: "ns", Action: render.Upgrade, Revision: 2, Values: inline(t, valuesOf(t, tt.now)), Cluster: aCluster, SkipCRDs: true, Previous: previous,
			})
			if err != nil {
				t.Fatal(err)
			}
			want, err := upgrade.Run("app", load(t, corpus[tt.chart].Files), valuesOf(t, tt.now))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.Manifest, got.Manifest); diff != "" {
				t.Errorf("manifest (-helm +sluice):\n%s", diff)
			}
			if diff := cmp.Diff(want.Config, got.Config); diff != "" {
				t.Errorf("values (-helm +sluice):\n%s", diff)
			}
		})
	}
}

// TestRenderLikeHelm holds renders equal to what the Helm SDK makes of the same chart and
// values, to the byte: manifest, hooks and notes, or the error.
func TestRenderLikeHelm(t *testing.T) {
	n := 0
	for name, of := range charts.Corpus() {
		for _, set := range of.Values {
			for _, upgrade := range []bool{false, true} {
				n++
				c := load(t, of.Files)
				q := Request{Name: "app", Namespace: "ns", Action: render.Install, Revision: 1, Values: inline(t, valuesOf(t, set)), Cluster: aCluster, SkipCRDs: true}
				if upgrade {
					q.Action, q.Revision = render.Upgrade, 7
				}
				got, err := answered(c, q)
				again, err2 := answered(c, q) // a render leaves the chart as it was
				want, wantErr := byHelm(load(t, of.Files), valuesOf(t, set), upgrade)
				if text(err) != text(wantErr) || text(err) != text(err2) {
					t.Errorf("%s with %q: error %q, then %q, want %q", name, set, text(err), text(err2), text(wantErr))
					continue
				}
				if err != nil {
					continue
				}
				type outcome struct {
					Manifest, Notes string
					Hooks           []*release.Hook
					Version         int
				}
				have := outcome{got.Manifest, got.Info.Notes, got.Hooks, got.Version}
				if diff := cmp.Diff(outcome{want.Manifest, want.Info.Notes, want.Hooks, want.Version}, have); diff != "" {
					t.Errorf("%s with %q, upgrade %t (-helm +ours):\n%s", name, set, upgrade, diff)
				}
				if diff := cmp.Diff(have, outcome{again.Manifest, again.Info.Notes, again.Hooks, again.Version}); diff != "" {
					t.Errorf("%s with %q: rendered again (-first +second):\n%s", name, set, diff)
				}
			}
		}
	}
	t.Logf("%d charts, %d renders", len(charts.Corpus()), n)
	if len(charts.Corpus()) < 25 || n < 100 {
		t.Errorf("only %d charts and %d renders", len(charts.Corpus()), n)
	}
}

// TestOriginChangesNothingElse holds what a HelmRelease's labels do to a manifest to just that, whatever its values
// look like in YAML.
func TestOriginChangesNothingElse(t *testing.T) {
	for name, of := range charts.Corpus() {
		for _, set := range of.Values {
			q := Request{Name: "app", Namespace: "ns", Action: render.Install, Revision: 1, Values: inline(t, valuesOf(t, set)), Cluster: aCluster, SkipCRDs: true}
			plain, err := answered(load(t, of.Files), q)
			if err != nil {
				continue
			}
			q.Origin = Origin{Name: "app", Namespace: "ns"}
			labelled, err := answered(load(t, of.Files), q)
			if err != nil {
				t.Errorf("%s with %q: %v", name, set, err)
				continue
			}
			if diff := cmp.Diff(unlabelled(t, plain.Manifest), unlabelled(t, labelled.Manifest)); diff != "" {
				t.Errorf("%s with %q (-plain +labelled):\n%s", name, set, diff)
			}
		}
	}
}

// unlabelled are the objects of a manifest, as the API server reads them, without the labels of their origin.
func unlabelled(t *testing.T, manifest string) []map[string]any {
	t.Helper()
	var out []map[string]any
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		object := map[string]any{}
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		all := []any{object}
		if items, ok := object["items"].([]any); ok {
			all = items
		}
		for _, o := range all {
			metadata, _ := o.(map[string]any)["metadata"].(map[string]any)
			labels, _ := metadata["labels"].(map[string]any)
			delete(labels, originName)
			delete(labels, originNamespace)
			if len(labels) == 0 {
				delete(metadata, "labels")
			}
		}
		if len(object) > 0 {
			out = append(out, object)
		}
	}
}

// answered renders in a cluster that has nothing of what templates look up.
func answered(c *chart.Chart, q Request) (render.Release, error) {
	out, err := Render(c, q)
	var asked *LookupError
	if !errors.As(err, &asked) {
		return out, err
	}
	for _, l := range asked.Lookups {
		q.Found = append(q.Found, render.Found{Lookup: l})
	}
	return Render(c, q)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestLoad takes charts from unpacked artifacts, where they are in a folder.
func TestLoad(t *testing.T) {
	for _, tt := range []struct {
		why   string
		files map[string]string
		err   string
	}{
		{"a chart in its folder", charts.Under("web", charts.Corpus()["web"].Files), ""},
		{"a byte order mark is left out", map[string]string{"a/Chart.yaml": "\xef\xbb\xbfapiVersion: v2\nname: a\nversion: 1.0.0\n"}, ""},
		{"a chart without a folder", map[string]string{"Chart.yaml": "apiVersion: v2\nname: a\nversion: 1.0.0\n"}, "Chart.yaml is not in a folder"},
		{"no chart", map[string]string{"a/README.md": "a"}, "Chart.yaml file is missing"},
		{"a chart without a version", map[string]string{"a/Chart.yaml": "apiVersion: v2\nname: a\n"}, "version"},
	} {
		tree := treeOf(t, tt.files)
		_, err := Load(tree)
		if (err == nil) != (tt.err == "") || !strings.Contains(text(err), tt.err) {
			t.Errorf("%s: error %v, want one with %q", tt.why, err, tt.err)
		}
	}
}

func treeOf(t *testing.T, files map[string]string) *artifact.Tree {
	t.Helper()
	dir := t.TempDir()
	w, err := artifact.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range files {
		if err := w.AddFile(name, strings.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	tree, err := artifact.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	return tree
}

// TestStamp marks the version of a chart that came by a tag with the artifact's digest.
func TestStamp(t *testing.T) {
	const digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, tt := range []struct{ why, version, tag, digest, want, err string }{
		{"no digest", "1.2.3", "1.2.3", "", "1.2.3", ""},
		{"a digest", "1.2.3", "latest", digest, "1.2.3+0123456789ab", ""},
		{"what is there is replaced", "1.2.3-rc.1+old", "1.2.3-rc.1", digest, "1.2.3-rc.1+0123456789ab", ""},
		{"a tag that is another version", "1.2.3", "1.2.4", digest, "", "artifact revision 1.2.4 does not match chart version 1.2.3"},
		{"a revision without a digest", "1.2.3", "latest", "nothing", "", "no digest"},
	} {
		c := &chart.Chart{Metadata: &chart.Metadata{Version: tt.version}}
		err := stamp(c, tt.tag, tt.digest)
		if tt.err != "" {
			if !strings.Contains(text(err), tt.err) {
				t.Errorf("%s: error %v, want %q", tt.why, err, tt.err)
			}
			continue
		}
		if err != nil || c.Metadata.Version != tt.want {
			t.Errorf("%s: version %s, error %v, want %s", tt.why, c.Metadata.Version, err, tt.want)
		}
	}
}

// TestOwnKinds lets templates see what the chart's own definitions will serve.
func TestOwnKinds(t *testing.T) {
	files := maps.Clone(charts.Corpus()["capable"].Files)
	files["templates/it.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: it}\ndata: {has: \"{{ .Capabilities.APIVersions.Has \"example.com/v1/Toy\" }}\"}\n"
	for skip, want := range map[bool]string{false: "true", true: "false"} {
		crds := map[bool]int{false: 1}[skip]
		got, err := Render(load(t, files), Request{Name: "a", Namespace: "b", Action: render.Install, Revision: 1, Cluster: aCluster, SkipCRDs: skip})
		if err != nil || !strings.Contains(got.Manifest, "has: \""+want+"\"") || len(got.CRDs) != crds {
			t.Errorf("skip %t: error %v, %d CRDs, manifest\n%s", skip, err, len(got.CRDs), got.Manifest)
		}
	}
}

// TestStrategies sends hooks to post-renderers with the rest, not at all, or apart.
func TestStrategies(t *testing.T) {
	const twins = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: twin}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: twin, annotations: {helm.sh/hook: pre-install}}\n"
	files := map[string]string{"Chart.yaml": "apiVersion: v2\nname: a\nversion: 1.0.0\n", "templates/a.yaml": twins}
	labels := []helmv2.PostRenderer{{Kustomize: &helmv2.Kustomize{Patches: []fluxkustomize.Patch{{
		Patch: "- {op: add, path: /metadata/labels, value: {patched: \"yes\"}}\n", Target: &fluxkustomize.Selector{Kind: "ConfigMap"},
	}}}}}
	for _, tt := range []struct {
		strategy    helmv2.PostRenderStrategy
		object, run bool
		err         string
	}{
		{"", false, false, "may not add resource with an already registered id"},
		{helmv2.PostRenderStrategyCombined, false, false, "may not add resource with an already registered id"},
		{helmv2.PostRenderStrategyNoHooks, true, false, ""},
		{helmv2.PostRenderStrategySeparate, true, true, ""},
	} {
		got, err := Render(load(t, files), Request{Name: "a", Namespace: "b", Action: render.Install, Revision: 1, Cluster: aCluster, PostRenderers: labels, Strategy: tt.strategy})
		if tt.err != "" {
			if !strings.Contains(text(err), tt.err) {
				t.Errorf("%q: error %v, want %q", tt.strategy, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.strategy, err)
			continue
		}
		if object, run := strings.Contains(got.Manifest, "patched"), strings.Contains(got.Hooks[0].Manifest, "patched"); object != tt.object || run != tt.run {
			t.Errorf("%q patched the object %t and the hook %t, want %t and %t", tt.strategy, object, run, tt.object, tt.run)
		}
	}
}
