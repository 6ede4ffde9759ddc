package fetcher_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// packageOf packs files as a chart.
func packageOf(t *testing.T, name string, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name + "/" + path, Mode: 0o644, Size: int64(len(files[path]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[path]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func chartFiles(name, version string) map[string]string {
	return map[string]string{
		"Chart.yaml":        "apiVersion: v2\nname: " + name + "\nversion: " + version + "\n",
		"values.yaml":       "# the defaults\nreplicas: 1\nimage: {tag: base, name: app}\n",
		"values-prod.yaml":  "replicas: 3\nimage: {tag: prod}\n",
		"values-list.yaml":  "- no\n- values\n",
		"templates/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
	}
}

// indexOf is an index of versions of charts, written name@version.
func indexOf(versions ...string) []byte {
	byName := map[string][]string{}
	for _, v := range versions {
		name, version, _ := strings.Cut(v, "@")
		byName[name] = append(byName[name], fmt.Sprintf("  - {name: %s, version: %s, urls: [packages/%s-%s.tgz]}\n", name, version, name, version))
	}
	var out strings.Builder
	out.WriteString("apiVersion: v1\nentries:\n")
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out.WriteString("  " + name + ":\n" + strings.Join(byName[name], ""))
	}
	return []byte(out.String())
}

// chartRepository serves versions of charts.
func chartRepository(t *testing.T, versions ...string) *chartServer {
	t.Helper()
	s := newChartServer(t, map[string][]byte{})
	publish(t, s, versions...)
	return s
}

func publish(t *testing.T, s *chartServer, versions ...string) {
	t.Helper()
	for _, v := range versions {
		name, version, _ := strings.Cut(v, "@")
		s.put("/packages/"+name+"-"+version+".tgz", packageOf(t, name, chartFiles(name, version)))
	}
	s.put("/index.yaml", indexOf(versions...))
}

func (w *world) createChart(name string, spec sourcev1.HelmChartSpec) *sourcev1.HelmChart {
	w.t.Helper()
	spec.Interval.Duration = time.Hour
	obj := &sourcev1.HelmChart{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}
	if err := w.client.Create(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
	return obj
}

func inRepository(chart, version, repository string) sourcev1.HelmChartSpec {
	return sourcev1.HelmChartSpec{Chart: chart, Version: version, SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: "HelmRepository", Name: repository}}
}

func inGit(path, repository string) sourcev1.HelmChartSpec {
	return sourcev1.HelmChartSpec{Chart: path, SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: "GitRepository", Name: repository}}
}

func inBucket(path, bucket string) sourcev1.HelmChartSpec {
	return sourcev1.HelmChartSpec{Chart: path, SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: "Bucket", Name: bucket}}
}

// chartAt is content with a chart that is ready at a version.
func chartAt(version string) func(*sourcev1.HelmChart) bool {
	return func(o *sourcev1.HelmChart) bool {
		return apimeta.IsStatusConditionTrue(o.Status.Conditions, "Ready") && o.Status.ObservedGeneration == o.Generation && o.Status.Artifact.Revision == version
	}
}

func chartFails(kind, reason, text string) func(*sourcev1.HelmChart) bool {
	return func(o *sourcev1.HelmChart) bool { return fails(o.Status.Conditions, kind, reason, text) }
}

func (w *world) says(o *sourcev1.HelmChart, reason, message string) {
	w.t.Helper()
	if got := apimeta.FindStatusCondition(o.Status.Conditions, "Ready"); got.Reason != reason || got.Message != message {
		w.t.Errorf("Ready is %s %q, want %s %q", got.Reason, got.Message, reason, message)
	}
}

// load downloads an artifact and reads the chart in it.
func (w *world) load(a *meta.Artifact) (*chart.Chart, []byte) {
	w.t.Helper()
	w.download(a)
	res, err := http.Get(a.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	loaded, err := loader.LoadArchive(bytes.NewReader(body))
	if err == nil {
		err = loaded.Validate()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return loaded, body
}

func helmCharts(t *testing.T, w *world) {
	for _, c := range []struct {
		name, why string
		run       func(*testing.T, *world)
	}{
		{"pulled", "the highest version in range, byte for byte, follows the index", chartPulled},
		{"values files", "they are merged in order, and the generation is in the version", chartValuesFiles},
		{"from Git", "a folder is packed without what .helmignore names, with its dependencies", chartFromGit},
		{"dependencies that cannot be", "what is missing is named", chartDependencies},
		{"package in Git", "a package is stored as it is", chartPackageInGit},
		{"strategy Revision", "each revision of the source gives a new artifact", chartRevision},
		{"digest", "a package is stored only if it is the one that the index names", chartDigest},
		{"from a Bucket", "a folder and a package, strategy Revision, what changes", chartFromBucket},
		{"login", "the package is downloaded with the repository's credentials, from another host only when told", chartLogin},
		{"failures", "what is wrong is told, and cured", chartFailures},
		{"from a registry", "the highest tag in range, a login, a HelmRepository that comes later", chartFromRegistry},
		{"verified", "a chart of a registry is signed, or not stored", chartVerified},
		{"verified later", "an artifact from before a signature was asked for does not do", chartVerifiedLater},
		{"verified again", "each pass verifies with the keys that are trusted then", chartVerifiedAgain},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, w.in(t)) })
	}
}

func chartPulled(t *testing.T, w *world) {
	s := chartRepository(t, "app@1.0.0", "app@1.1.0", "app@2.0.0")
	repository := w.createRepository("pulled", sourcev1.HelmRepositorySpec{URL: s.URL})
	obj := awaitObject(w, "the chart", w.createChart("pulled", inRepository("app", "1.x", "pulled")), chartAt("1.1.0"))
	w.says(obj, "ChartPullSucceeded", "pulled 'app' chart with version '1.1.0'")
	a := obj.Status.Artifact
	if want := "helmchart/default/pulled/app-1.1.0.tgz"; a.Path != want || a.Digest != blob.Digest(s.files["/packages/app-1.1.0.tgz"]) {
		t.Errorf("artifact is %+v", a)
	}
	if obj.Status.ObservedChartName != "app" || obj.Status.ObservedSourceArtifactRevision == "" || !strings.HasSuffix(obj.Status.URL, "/helmchart/default/pulled/latest.tar.gz") {
		t.Errorf("status is %+v", obj.Status)
	}
	w.load(a)
	w.kubernetesEvent("pulled", "ChartPullSucceeded", "pulled 'app' chart with version '1.1.0'")
	asked, _ := s.since(0)
	w.ask(obj, "1")
	awaitObject(w, "the second look", obj, func(o *sourcev1.HelmChart) bool { return o.Status.LastHandledReconcileAt == "1" })
	if more, _ := s.since(len(asked)); len(more) > 0 {
		t.Errorf("a chart that did not change cost %q", more)
	}
	publish(t, s, "app@1.0.0", "app@1.1.0", "app@1.2.0", "app@2.0.0")
	w.ask(repository, "1")
	awaitObject(w, "the new version, unasked", obj, chartAt("1.2.0"))
}

func chartValuesFiles(t *testing.T, w *world) {
	s := chartRepository(t, "app@1.0.0")
	w.createRepository("values", sourcev1.HelmRepositorySpec{URL: s.URL})
	spec := inRepository("app", "*", "values")
	spec.ValuesFiles = []string{"values.yaml", "values-prod.yaml"}
	obj := awaitObject(w, "the chart", w.createChart("values", spec), chartAt("1.0.0+1"))
	w.says(obj, "ChartPackageSucceeded", "packaged 'app' chart with version '1.0.0+1' and merged values files ['values.yaml','values-prod.yaml']")
	loaded, first := w.load(obj.Status.Artifact)
	want := map[string]any{"replicas": 3.0, "image": map[string]any{"tag": "prod", "name": "app"}}
	if diff := cmp.Diff(want, loaded.Values); diff != "" || loaded.Metadata.Version != "1.0.0+1" {
		t.Errorf("version %s, values %s", loaded.Metadata.Version, diff)
	}
	if !slices.Equal(obj.Status.ObservedValuesFiles, spec.ValuesFiles) {
		t.Errorf("observed values files are %q", obj.Status.ObservedValuesFiles)
	}

	again := awaitObject(w, "the same chart", w.createChart("values-again", spec), chartAt("1.0.0+1"))
	if _, second := w.load(again.Status.Artifact); !bytes.Equal(first, second) {
		t.Error("the same chart was packed in two ways")
	}
	own := spec
	own.ValuesFiles = []string{"./values.yaml"}
	awaitObject(w, "its own values", w.createChart("values-own", own), chartAt("1.0.0"))

	absent := spec
	absent.ValuesFiles = []string{"absent.yaml", "values-prod.yaml"}
	missing := awaitObject(w, "a missing file", w.createChart("values-absent", absent), chartFails("BuildFailed", "ValuesFilesError", "values files merge error: failed to merge chart values: no values file found at path 'absent.yaml'"))
	missing.Spec.IgnoreMissingValuesFiles = true
	if err := w.client.Update(t.Context(), missing); err != nil {
		t.Fatal(err)
	}
	cured := awaitObject(w, "the cure", missing, chartAt("1.0.0+2"))
	if loaded, _ := w.load(cured.Status.Artifact); loaded.Values["replicas"] != 3.0 || len(cured.Status.ObservedValuesFiles) != 1 {
		t.Errorf("values are %v, from %q", loaded.Values, cured.Status.ObservedValuesFiles)
	}
	list := spec
	list.ValuesFiles = []string{"values-list.yaml"}
	none := awaitObject(w, "no values", w.createChart("values-list", list), chartFails("BuildFailed", "ValuesFilesError", "'values-list.yaml': it is no YAML of values"))
	if !apimeta.IsStatusConditionTrue(none.Status.Conditions, "Stalled") {
		t.Errorf("what only another spec helps is not stalled: %+v", none.Status.Conditions)
	}
}

// gitSource makes a repository with files, and a GitRepository that is ready.
func (w *world) gitSource(name string, files map[string]string) (*gittest.Repo, string) {
	w.t.Helper()
	repo := gittest.NewRepo(w.t, w.root, name)
	sha := repo.Commit("main", "first", files)
	w.create(name, sourcev1.GitRepositorySpec{URL: w.http.URL + "/" + name, Reference: branch("main")})
	w.await("the source", name, at("main@sha1:"+sha))
	return repo, sha
}

// under puts files into a folder.
func under(dir string, files map[string]string, more ...map[string]string) map[string]string {
	out := map[string]string{}
	for path, text := range files {
		out[dir+"/"+path] = text
	}
	for _, m := range more {
		maps.Copy(out, m)
	}
	return out
}

func chartFromGit(t *testing.T, w *world) {
	s := chartRepository(t, "remote@0.2.0", "remote@0.3.0")
	s.user, s.password = "someone", "pass-phrase"
	w.secret("git-chart", map[string]string{"username": s.user, "password": s.password})
	w.createRepository("git-chart", sourcev1.HelmRepositorySpec{URL: s.URL + "/", SecretRef: local("git-chart")})
	app := chartFiles("app", "0.1.0")
	app["Chart.yaml"] += "dependencies:\n- {name: beside, version: \">=1\", repository: \"file://../beside\"}\n- {name: remote, version: 0.2.x, repository: \"" + s.URL + "\"}\n- {name: vendored, version: 1.0.0, repository: \"https://nowhere.example.com\"}\n"
	app[".helmignore"] = "secret.txt\nnotes/\n"
	app["secret.txt"], app["notes/a.txt"] = "x", "y"
	repo, _ := w.gitSource("git-chart", under("charts/app", app, under("charts/beside", chartFiles("beside", "1.5.0")),
		under("charts/app/charts/vendored", chartFiles("vendored", "1.0.0"))))
	obj := awaitObject(w, "the chart", w.createChart("git-chart", inGit("./charts/app", "git-chart")), chartAt("0.1.0"))
	w.says(obj, "ChartPackageSucceeded", "packaged 'app' chart with version '0.1.0'")
	loaded, _ := w.load(obj.Status.Artifact)
	var have []string
	for _, d := range loaded.Dependencies() {
		have = append(have, d.Name()+"@"+d.Metadata.Version)
	}
	slices.Sort(have)
	if want := []string{"beside@1.5.0", "remote@0.2.0", "vendored@1.0.0"}; !slices.Equal(have, want) {
		t.Errorf("dependencies are %q, want %q", have, want)
	}
	for _, f := range loaded.Raw {
		if f.Name == "secret.txt" || strings.HasPrefix(f.Name, "notes/") {
			t.Errorf("the package has %s", f.Name)
		}
		if f.Name == "values.yaml" && string(f.Data) != app["values.yaml"] {
			t.Errorf("values.yaml became %q", f.Data)
		}
	}
	first := *obj.Status.Artifact
	sha := repo.Commit("main", "another file", map[string]string{"README.md": "x"})
	w.request("git-chart", "1")
	awaitObject(w, "the next revision", obj, func(o *sourcev1.HelmChart) bool {
		return chartAt("0.1.0")(o) && o.Status.ObservedSourceArtifactRevision == "main@sha1:"+sha
	})
	if obj.Status.Artifact.Digest != first.Digest || !obj.Status.Artifact.LastUpdateTime.Equal(&first.LastUpdateTime) {
		t.Error("the same version was packed again")
	}
	repo.Commit("main", "a new version", map[string]string{"charts/app/Chart.yaml": strings.Replace(app["Chart.yaml"], "0.1.0", "0.2.0", 1)})
	w.request("git-chart", "2")
	awaitObject(w, "the new version", obj, chartAt("0.2.0"))
}

func chartDependencies(t *testing.T, w *world) {
	s := chartRepository(t, "remote@0.2.0")
	depends := func(dependency string) map[string]string {
		files := chartFiles("app", "0.1.0")
		files["Chart.yaml"] += "dependencies:\n- " + dependency + "\n"
		return files
	}
	w.gitSource("git-dependencies", under("escapes", depends(`{name: x, version: "*", repository: "file://../../x"}`),
		under("absent", depends(`{name: x, version: "*", repository: "file://../x"}`)),
		under("wrong", depends(`{name: beside, version: "2.x", repository: "file://../beside"}`)), under("beside", chartFiles("beside", "1.0.0")),
		under("none", depends(`{name: remote, version: 9.x, repository: "`+s.URL+`"}`)),
		under("alias", depends(`{name: remote, version: "*", repository: "@somewhere"}`))))
	for name, want := range map[string]string{
		"escapes": "dependency build error: failed to add local dependency 'x': ",
		"absent":  "failed to add local dependency 'x': no chart found at 'x' (reference 'file://../x')",
		"wrong":   "can't get a valid version for constraint '2.x'",
		"none":    "failed to add remote dependency 'remote': failed to get chart 'remote' version '9.x' from '" + s.URL + "'",
		"alias":   "no chart repository for URL '@somewhere'",
	} {
		obj := awaitObject(w, name, w.createChart("dependencies-"+name, inGit(name, "git-dependencies")), chartFails("BuildFailed", "DependencyBuildError", want))
		if apimeta.IsStatusConditionTrue(obj.Status.Conditions, "Stalled") {
			t.Errorf("%s: a dependency that may come is stalled: %+v", name, obj.Status.Conditions)
		}
	}
}

func chartPackageInGit(t *testing.T, w *world) {
	archive := packageOf(t, "app", chartFiles("app", "0.1.0"))
	w.gitSource("git-package", map[string]string{".sourceignore": "!*\n", "app-0.1.0.tgz": string(archive), "more.yaml": "replicas: 7\n"})
	obj := awaitObject(w, "the chart", w.createChart("git-package", inGit("app-0.1.0.tgz", "git-package")), chartAt("0.1.0"))
	w.says(obj, "ChartPullSucceeded", "pulled 'app' chart with version '0.1.0'")
	if obj.Status.Artifact.Digest != blob.Digest(archive) {
		t.Error("the package was changed")
	}
	spec := inGit("app-0.1.0.tgz", "git-package")
	spec.ValuesFiles = []string{"more.yaml"} // its path is that in the source
	obj = awaitObject(w, "the changed chart", w.createChart("git-package-values", spec), chartAt("0.1.0+1"))
	if loaded, _ := w.load(obj.Status.Artifact); loaded.Values["replicas"] != 7.0 || len(loaded.Values) != 1 {
		t.Errorf("values are %v", loaded.Values)
	}
}

func chartRevision(t *testing.T, w *world) {
	repo, sha := w.gitSource("git-revision", under("app", chartFiles("app", "0.1.0")))
	spec := inGit("app", "git-revision")
	spec.ReconcileStrategy = sourcev1.ReconcileStrategyRevision
	obj := awaitObject(w, "the chart", w.createChart("git-revision", spec), chartAt("0.1.0+"+sha[:12]))
	if loaded, _ := w.load(obj.Status.Artifact); loaded.Metadata.Version != "0.1.0+"+sha[:12] {
		t.Errorf("version is %s", loaded.Metadata.Version)
	}
	sha = repo.Commit("main", "second", map[string]string{"other": "x"})
	w.request("git-revision", "1")
	awaitObject(w, "the next revision", obj, chartAt("0.1.0+"+sha[:12]))
	spec.ValuesFiles = []string{"app/values-prod.yaml"}
	awaitObject(w, "with values", w.createChart("git-revision-values", spec), chartAt("0.1.0+"+sha[:12]+".1"))
}

func chartDigest(t *testing.T, w *world) {
	s := chartRepository(t, "app@1.0.0")
	right := blob.Digest(s.files["/packages/app-1.0.0.tgz"])
	_, hex, _ := strings.Cut(right, ":")
	wrong := strings.Repeat("0", len(hex))
	index := func(path, digest string) {
		s.put("/"+path+"/index.yaml", []byte("apiVersion: v1\nentries:\n  app:\n  - {name: app, version: 1.0.0, digest: \""+digest+"\", urls: [../packages/app-1.0.0.tgz]}\n"))
	}
	for name, c := range map[string]struct {
		digest string
		fits   bool
	}{
		"plain": {hex, true}, "prefixed": {right, true}, "capitals": {strings.ToUpper(hex), true}, "none": {"", true},
		"another form": {"md5:00", true}, "other": {wrong, false}, "other prefixed": {"sha256:" + wrong, false},
	} {
		name = "digest-" + strings.ReplaceAll(name, " ", "-")
		index(name, c.digest)
		repository := w.createRepository(name, sourcev1.HelmRepositorySpec{URL: s.URL + "/" + name})
		obj := w.createChart(name, inRepository("app", "*", name))
		if c.fits {
			awaitObject(w, name, obj, chartAt("1.0.0"))
			continue
		}
		awaitObject(w, name, obj, chartFails("FetchFailed", "ChartPullError", "the package has digest "+right+", the index says sha256:"+wrong))
		w.unpublished(obj)
		index(name, hex)
		w.ask(repository, "1")
		awaitObject(w, "the cure of "+name, obj, chartAt("1.0.0"))
	}
	// Dependencies are packages too.
	index("dependency", wrong)
	app := chartFiles("umbrella", "0.1.0")
	app["Chart.yaml"] += "dependencies:\n- {name: app, version: 1.0.0, repository: \"" + s.URL + "/dependency\"}\n"
	w.gitSource("digest-dependency", under("umbrella", app))
	awaitObject(w, "a dependency", w.createChart("digest-dependency", inGit("umbrella", "digest-dependency")),
		chartFails("BuildFailed", "DependencyBuildError", "the package has digest "+right+", the index says sha256:"+wrong))
}

func chartFromBucket(t *testing.T, w *world) {
	s := newStorage(t, w.storage, "charts", nil)
	archive := packageOf(t, "packed", chartFiles("packed", "0.2.0"))
	s.put(under("charts/app", chartFiles("app", "0.1.0"), map[string]string{"packed-0.2.0.tgz": string(archive), "more.yaml": "replicas: 7\n"}))
	spec := s.spec()
	spec.SecretRef = w.secret("bucket-charts", map[string]string{"accesskey": w.storage.AccessKey, "secretkey": w.storage.SecretKey})
	early := w.createChart("bucket-folder", inBucket("./charts/app", "bucket-charts"))
	awaitObject(w, "the wait", early, chartFails("FetchFailed", "SourceUnavailable", "failed to get source: "))
	of := awaitObject(w, "the bucket", w.createBucket("bucket-charts", spec), bucketReady)
	obj := awaitObject(w, "a folder", early, chartAt("0.1.0"))
	w.says(obj, "ChartPackageSucceeded", "packaged 'app' chart with version '0.1.0'")
	w.load(obj.Status.Artifact)
	if obj.Status.ObservedSourceArtifactRevision != of.Status.Artifact.Revision {
		t.Errorf("observed revision is %s, want %s", obj.Status.ObservedSourceArtifactRevision, of.Status.Artifact.Revision)
	}
	packed := awaitObject(w, "a package", w.createChart("bucket-package", inBucket("packed-0.2.0.tgz", "bucket-charts")), chartAt("0.2.0"))
	w.says(packed, "ChartPullSucceeded", "pulled 'packed' chart with version '0.2.0'")
	if packed.Status.Artifact.Digest != blob.Digest(archive) {
		t.Error("the package was changed")
	}
	values := inBucket("packed-0.2.0.tgz", "bucket-charts")
	values.ValuesFiles = []string{"more.yaml"}
	changed := awaitObject(w, "values", w.createChart("bucket-values", values), chartAt("0.2.0+1"))
	if loaded, _ := w.load(changed.Status.Artifact); loaded.Values["replicas"] != 7.0 {
		t.Errorf("values are %v", loaded.Values)
	}
	by := inBucket("charts/app", "bucket-charts")
	by.ReconcileStrategy = sourcev1.ReconcileStrategyRevision
	_, hex, _ := strings.Cut(of.Status.Artifact.Revision, ":")
	revision := awaitObject(w, "the revision", w.createChart("bucket-revision", by), chartAt("0.1.0+"+hex[:12]))
	s.put(map[string]string{"charts/app/Chart.yaml": chartFiles("app", "0.3.0")["Chart.yaml"]})
	w.ask(of, "1")
	awaitObject(w, "the next version, unasked", obj, chartAt("0.3.0"))
	awaitObject(w, "the next revision of the bucket", of, func(o *sourcev1.Bucket) bool {
		return bucketReady(o) && !strings.HasSuffix(o.Status.Artifact.Revision, hex)
	})
	_, hex, _ = strings.Cut(of.Status.Artifact.Revision, ":")
	awaitObject(w, "the next revision", revision, chartAt("0.3.0+"+hex[:12]))
}

func chartLogin(t *testing.T, w *world) {
	packages := chartRepository(t, "app@1.0.0")
	packages.user, packages.password = "someone", "pass-phrase"
	s := newChartServer(t, map[string][]byte{"/index.yaml": []byte("apiVersion: v1\nentries:\n  app:\n  - {name: app, version: 1.0.0, urls: [" + packages.URL + "/packages/app-1.0.0.tgz]}\n")})
	s.user, s.password = packages.user, packages.password
	w.secret("chart-login", map[string]string{"username": s.user, "password": s.password})
	w.createRepository("chart-login", sourcev1.HelmRepositorySpec{URL: s.URL, SecretRef: local("chart-login")})
	awaitObject(w, "the refusal", w.createChart("chart-login", inRepository("app", "*", "chart-login")), chartFails("FetchFailed", "AuthenticationFailed", "chart pull error: failed to download chart for remote reference: failed to fetch "+packages.URL+"/packages/app-1.0.0.tgz : 401 Unauthorized"))
	if got, _ := packages.since(0); got[0] != "/packages/app-1.0.0.tgz" {
		t.Errorf("the other host got %q", got)
	}
	w.createRepository("chart-passes", sourcev1.HelmRepositorySpec{URL: s.URL, SecretRef: local("chart-login"), PassCredentials: true})
	awaitObject(w, "the chart", w.createChart("chart-passes", inRepository("app", "*", "chart-passes")), chartAt("1.0.0"))
}

func chartFailures(t *testing.T, w *world) {
	s := chartRepository(t, "app@1.0.0", "broken@1.0.0", "gone@1.0.0", "liar@1.0.0")
	s.put("/packages/broken-1.0.0.tgz", []byte("no archive"))
	s.put("/packages/large-1.0.0.tgz", bytes.Repeat([]byte("x"), 1<<20))
	s.mu.Lock()
	delete(s.files, "/packages/gone-1.0.0.tgz")
	s.mu.Unlock()
	repository := w.createRepository("chart-failures", sourcev1.HelmRepositorySpec{URL: s.URL})
	w.createRepository("chart-no-registry", sourcev1.HelmRepositorySpec{URL: s.URL, Type: sourcev1.HelmRepositoryTypeOCI})
	w.createRepository("chart-nothing", sourcev1.HelmRepositorySpec{URL: s.URL + "/nowhere"})
	w.gitSource("chart-failures", map[string]string{"README.md": "x", "bad/Chart.yaml": "apiVersion: v2\nname: bad\n"})
	verified := inRepository("app", "*", "chart-failures")
	verified.Verify = &sourcev1.HelmChartVerification{Provider: "cosign"}
	for _, c := range []struct {
		name                    string
		spec                    sourcev1.HelmChartSpec
		condition, reason, text string
	}{
		{"version", inRepository("app", "9.x", "chart-failures"), "FetchFailed", "InvalidChartReference", "invalid chart reference: failed to get chart version for remote reference: no 'app' chart with version matching '9.x' found"},
		{"chart", inRepository("other", "*", "chart-failures"), "FetchFailed", "InvalidChartReference", "no chart name found"},
		{"name", inRepository("App!", "*", "chart-failures"), "FetchFailed", "InvalidChartReference", "invalid chart name 'App!'"},
		{"broken", inRepository("broken", "*", "chart-failures"), "FetchFailed", "ChartPullError", "failed to load downloaded chart"},
		{"gone", inRepository("gone", "*", "chart-failures"), "FetchFailed", "ChartPullError", "404 Not Found"},
		{"source", inRepository("app", "*", "chart-later"), "FetchFailed", "SourceUnavailable", "failed to get source: "},
		{"nothing", inRepository("app", "*", "chart-nothing"), "FetchFailed", "NoSourceArtifact", "no artifact available for HelmRepository source 'chart-nothing'"},
		{"url", inRepository("app", "*", "chart-no-registry"), "FetchFailed", "URLInvalid", "invalid Helm repository URL"},
		{"verify", verified, "FetchFailed", "InvalidChartReference", "spec.verify works with HelmRepositories of type oci only"},
		{"path", inGit("charts/none", "chart-failures"), "FetchFailed", "InvalidChartReference", "invalid chart reference: no chart at path 'charts/none'"},
		{"escape", inGit("../x", "chart-failures"), "FetchFailed", "InvalidChartReference", "invalid chart reference: "},
		{"metadata", inGit("bad", "chart-failures"), "FetchFailed", "InvalidChartReference", "chart.metadata.version is required"},
		{"file", inGit("README.md", "chart-failures"), "FetchFailed", "InvalidChartReference", "invalid chart reference: read package: "},
	} {
		obj := awaitObject(w, c.name, w.createChart("failing-"+c.name, c.spec), chartFails(c.condition, c.reason, c.text))
		if stalled := apimeta.IsStatusConditionTrue(obj.Status.Conditions, "Stalled"); stalled != slices.Contains([]string{"InvalidChartReference", "URLInvalid"}, c.reason) {
			t.Errorf("%s: stalled is %t", c.name, stalled)
		}
	}
	publish(t, s, "app@1.0.0", "app@9.1.0")
	w.createRepository("chart-later", sourcev1.HelmRepositorySpec{URL: s.URL})
	w.ask(repository, "1")
	for name, version := range map[string]string{"version": "9.1.0", "source": "9.1.0"} {
		awaitObject(w, "the cure of "+name, &sourcev1.HelmChart{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "failing-" + name}}, chartAt(version))
	}
}

// pushChart puts a chart into a registry, as helm push does.
func (r *ociRegistry) pushChart(t *testing.T, path, name, version string) (archive []byte, digest string) {
	t.Helper()
	archive = packageOf(t, name, chartFiles(name, version))
	return archive, r.push(t, path+"/"+name, strings.ReplaceAll(version, "+", "_"), nil, layer{"application/vnd.cncf.helm.chart.content.v1.tar+gzip", archive, nil})
}

func ociCharts(r *ociRegistry, secret string) sourcev1.HelmRepositorySpec {
	spec := sourcev1.HelmRepositorySpec{URL: "oci://" + r.host + "/charts", Type: sourcev1.HelmRepositoryTypeOCI}
	if secret != "" {
		spec.SecretRef = local(secret)
	}
	return spec
}

func chartFromRegistry(t *testing.T, w *world) {
	r := newRegistry(t, true, nil)
	for _, version := range []string{"1.0.0", "1.2.0+build.7", "2.0.0"} {
		r.pushChart(t, "charts", "app", version)
	}
	archive, _ := r.pushChart(t, "charts/nested", "deep", "0.1.0")
	r.push(t, "charts/nochart", "1.0.0", nil, layer{fluxLayer, tarred(t, map[string]string{"a": "1"}), nil})
	w.pullSecret("registry-login", r.host, registryUser, registryPassword)
	w.secret("registry-basic", map[string]string{"username": registryUser, "password": registryPassword})
	early := w.createChart("registry-early", inRepository("app", "1.x", "registry"))
	awaitObject(w, "the wait", early, chartFails("FetchFailed", "SourceUnavailable", "failed to get source: "))
	w.createRepository("registry", ociCharts(r, "registry-login"))
	obj := awaitObject(w, "the chart", early, chartAt("1.2.0+build.7"))
	w.says(obj, "ChartPullSucceeded", "pulled 'app' chart with version '1.2.0+build.7'")
	w.load(obj.Status.Artifact)
	w.createRepository("registry-basic", ociCharts(r, "registry-basic"))
	deep := awaitObject(w, "a nested chart", w.createChart("registry-deep", inRepository("nested/deep", "0.1.0", "registry-basic")), chartAt("0.1.0"))
	if deep.Status.Artifact.Digest != blob.Digest(archive) {
		t.Error("the package was changed")
	}
	before := len(r.since(0))
	w.ask(deep, "1")
	awaitObject(w, "the second look", deep, func(o *sourcev1.HelmChart) bool { return o.Status.LastHandledReconcileAt == "1" })
	if got := r.since(before); len(got) > 0 {
		t.Errorf("a chart with an exact version cost %q", got)
	}
	spec := inRepository("app", "2.0.0", "registry")
	spec.ValuesFiles = []string{"values-prod.yaml"}
	obj = awaitObject(w, "values", w.createChart("registry-values", spec), chartAt("2.0.0+1"))
	if loaded, _ := w.load(obj.Status.Artifact); loaded.Values["replicas"] != 3.0 {
		t.Errorf("values are %v", loaded.Values)
	}
	app := chartFiles("app", "0.1.0")
	app["Chart.yaml"] += "dependencies:\n- {name: app, alias: other, version: 1.0.0, repository: \"oci://" + r.host + "/charts\"}\n"
	w.gitSource("registry-dependency", under("app", app))
	obj = awaitObject(w, "a dependency", w.createChart("registry-dependency", inGit("app", "registry-dependency")), chartAt("0.1.0"))
	if loaded, _ := w.load(obj.Status.Artifact); len(loaded.Dependencies()) != 1 || loaded.Dependencies()[0].Metadata.Version != "1.0.0" {
		t.Errorf("dependencies are %v", loaded.Dependencies())
	}
	w.createRepository("registry-anonymous", ociCharts(r, ""))
	for name, c := range map[string]struct{ chart, version, repository, reason, text string }{
		"range":     {"app", "9.x", "registry", "ChartPullError", "chart pull error: failed to get chart version for remote reference: no match found for semver: 9.x"},
		"exact":     {"app", "9.0.0", "registry", "ChartPullError", "chart pull error: failed to download chart for remote reference: "},
		"no chart":  {"nochart", "1.0.0", "registry", "ChartPullError", "failed to find layer with media type"},
		"anonymous": {"app", "*", "registry-anonymous", "AuthenticationFailed", "chart pull error: failed to get chart version for remote reference: "},
	} {
		awaitObject(w, name, w.createChart("registry-"+strings.ReplaceAll(name, " ", "-"), inRepository(c.chart, c.version, c.repository)), chartFails("FetchFailed", c.reason, c.text))
	}
}

func chartVerified(t *testing.T, w *world) {
	r := newRegistry(t, false, nil)
	key := newSigner(t)
	w.secret("chart-key", map[string]string{"key.pub": key.public(t)})
	w.createRepository("signed", ociCharts(r, ""))
	_, good := r.pushChart(t, "charts", "good", "1.0.0")
	_, bad := r.pushChart(t, "charts", "bad", "1.0.0")
	key.byTag(t, r, "charts/good", good, good)
	spec := func(chart string) sourcev1.HelmChartSpec {
		s := inRepository(chart, "*", "signed")
		s.Verify = &sourcev1.HelmChartVerification{Provider: "cosign", SecretRef: local("chart-key")}
		return s
	}
	obj := awaitObject(w, "the signed chart", w.createChart("signed-good", spec("good")), chartAt("1.0.0"))
	if c := apimeta.FindStatusCondition(obj.Status.Conditions, "SourceVerified"); c == nil || c.Status != metav1.ConditionTrue || c.Message != "verified signature of version 1.0.0" {
		t.Errorf("SourceVerified is %+v", c)
	}
	refused := awaitObject(w, "the refusal", w.createChart("signed-bad", spec("bad")), chartFails("BuildFailed", "ChartVerificationError", unsigned))
	if c := apimeta.FindStatusCondition(refused.Status.Conditions, "SourceVerified"); c == nil || c.Status != metav1.ConditionFalse || c.Reason != "VerificationError" ||
		!strings.HasPrefix(c.Message, "chart verification error: ") || refused.Status.Artifact != nil {
		t.Errorf("status is %+v", refused.Status)
	}
	key.byTag(t, r, "charts/bad", bad, bad)
	awaitObject(w, "the cure", refused, func(o *sourcev1.HelmChart) bool {
		return chartAt("1.0.0")(o) && apimeta.IsStatusConditionTrue(o.Status.Conditions, "SourceVerified")
	})
	obj.Spec.Verify = nil
	if err := w.client.Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	awaitObject(w, "no verification", obj, func(o *sourcev1.HelmChart) bool {
		return chartAt("1.0.0")(o) && apimeta.FindStatusCondition(o.Status.Conditions, "SourceVerified") == nil
	})
}
