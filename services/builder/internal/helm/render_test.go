package helm

import (
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
	kubefake "helm.sh/helm/v3/pkg/kube/fake"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
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

// TestRenderLikeHelm holds renders equal to what the Helm SDK makes of the same chart and
// values, to the byte: manifest, hooks and notes, or the error.
func TestRenderLikeHelm(t *testing.T) {
	charts := corpus()
	n := 0
	for name, sets := range map[string][]string{
		"web": {
			"", "replicas: 5\n", "ingress: {enabled: true}\n", "cache: {enabled: false}\n", "tags: {backing: false}\n",
			"cache: {auth: {enabled: true, password: secret}}\n", "nameOverride: a-name-that-is-really-very-long-and-has-to-be-cut-somewhere-after-63-chars\n",
			"resources: {limits: {cpu: 1, memory: 64Mi}}\nenv: {b: 1, a: \"x: y\"}\n", "image: {tag: \"1.10\"}\nglobal: {zone: west}\n", "resources: null\n",
		},
		"cache":    {"", "auth: {enabled: true, password: \"pass\\nword\"}\n", "port: 1000000\n"},
		"hooks":    {""},
		"capable":  {""},
		"tpl":      {"", "greeting: '{{ .Values.list | len }}'\n", "list: []\ndeep: null\n"},
		"umbrella": {"", "hooks: {enabled: true}\n", "tags: {backend: false}\n", "front: {enabled: false}\nback: {cache: {enabled: true}, global: {zone: x}}\n"},
		"schema":   {"", "port: 0\n", "port: text\n"},
		"old":      {"", "cache: {enabled: false}\n"},
		"library":  {""},
		"empty":    {""},
		"fails":    {"", "name: a\n"},
		"broken":   {""},
		"future":   {""},
	} {
		for _, set := range sets {
			for _, upgrade := range []bool{false, true} {
				n++
				c := load(t, charts[name])
				q := Request{Name: "app", Namespace: "ns", Action: render.Install, Revision: 1, Values: valuesOf(t, set), Cluster: aCluster, SkipCRDs: true}
				if upgrade {
					q.Action, q.Revision = render.Upgrade, 7
				}
				got, err := Render(c, q)
				again, err2 := Render(c, q) // a render leaves the chart as it was
				want, wantErr := byHelm(load(t, charts[name]), valuesOf(t, set), upgrade)
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
	t.Logf("%d renders", n)
	if n < 50 {
		t.Errorf("only %d renders", n)
	}
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
		{"a chart in its folder", under("web", corpus()["web"]), ""},
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
	files := maps.Clone(corpus()["capable"])
	files["templates/it.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: it}\ndata: {has: \"{{ .Capabilities.APIVersions.Has \"example.com/v1/Toy\" }}\"}\n"
	for skip, want := range map[bool]string{false: "true", true: "false"} {
		got, err := Render(load(t, files), Request{Name: "a", Namespace: "b", Action: render.Install, Revision: 1, Cluster: aCluster, SkipCRDs: skip})
		if err != nil || !strings.Contains(got.Manifest, "has: \""+want+"\"") || len(got.CRDs) != 1 {
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
