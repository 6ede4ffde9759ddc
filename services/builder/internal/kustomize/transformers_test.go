package kustomize_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/kustomize"
)

const (
	service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}}\n"
	web     = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: web}}\n" +
		"  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - {name: web, image: 'web:1', envFrom: [{configMapRef: {name: settings}}]}\n"
	digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
)

// TestTransformers is Flux's acceptance case of that name, field by field: what
// kustomize's own fields do, what the spec's do, and both together.
func TestTransformers(t *testing.T) {
	for _, c := range []struct {
		reason, kustomization, spec string
		more                        tree
		object                      string // kind/name
		path, want                  string // of a field, and its value as YAML in one line
	}{
		{reason: "namePrefix", kustomization: "namePrefix: p-\n", object: "Service/p-web", path: "spec.selector.app", want: "web"},
		{reason: "nameSuffix", kustomization: "nameSuffix: -s\n", object: "Deployment/web-s", path: "spec.replicas", want: "1"},
		{reason: "namespace", kustomization: "namespace: ns\n", object: "Service/web", path: "metadata.namespace", want: "ns"},
		{reason: "labels with selectors", kustomization: "labels: [{pairs: {l: v}, includeSelectors: true}]\n",
			object: "Deployment/web", path: "spec.selector.matchLabels", want: "{app: web, l: v}"},
		{reason: "labels without selectors", kustomization: "labels: [{pairs: {l: v}}]\n",
			object: "Service/web", path: "spec.selector", want: "{app: web}"},
		{reason: "annotations", kustomization: "commonAnnotations: {a: v}\n",
			object: "Deployment/web", path: "spec.template.metadata.annotations", want: "{a: v}"},
		{reason: "a ConfigMap generator names what it made where it is used", kustomization: "configMapGenerator: [{name: settings, literals: [k=v]}]\n",
			object: "Deployment/web", path: "spec.template.spec.containers.0.envFrom.0.configMapRef.name", want: "settings-bdg947hgcc"},
		{reason: "a Secret generator", kustomization: "secretGenerator: [{name: s, literals: [k=v], options: {disableNameSuffixHash: true}}]\n",
			object: "Secret/s", path: "data.k", want: "dg=="},
		{reason: "a JSON 6902 patch", kustomization: "patches: [{target: {kind: Service}, patch: '[{\"op\": \"replace\", \"path\": \"/spec/selector/app\", \"value\": \"x\"}]'}]\n",
			object: "Service/web", path: "spec.selector.app", want: "x"},
		{reason: "a strategic merge patch", kustomization: "patches: [{path: p.yaml}]\n",
			more:   tree{"p.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: web, env: [{name: A, value: b}]}]}}}\n"},
			object: "Deployment/web", path: "spec.template.spec.containers.0.env.0.value", want: "b"},
		{reason: "images", kustomization: "images: [{name: web, newName: r/web, newTag: '2'}]\n",
			object: "Deployment/web", path: "spec.template.spec.containers.0.image", want: "r/web:2"},
		{reason: "replicas", kustomization: "replicas: [{name: web, count: 4}]\n", object: "Deployment/web", path: "spec.replicas", want: "4"},
		{reason: "replacements", kustomization: "replacements: [{source: {kind: Service, fieldPath: metadata.name}, targets: [{select: {kind: Deployment}, fieldPaths: [metadata.annotations.from], options: {create: true}}]}]\n",
			object: "Deployment/web", path: "metadata.annotations.from", want: "web"},
		{reason: "build metadata off", object: "Service/web", path: "metadata.annotations", want: "null"},
		{reason: "build metadata turned on by the folder", kustomization: "buildMetadata: [originAnnotations]\n",
			object: "Service/web", path: "metadata.annotations", want: "{config.kubernetes.io/origin: \"path: service.yaml\\n\"}"},
		{reason: "build metadata turned on by the spec", spec: "buildMetadata: [originAnnotations]\n",
			object: "Service/web", path: "metadata.annotations", want: "{config.kubernetes.io/origin: \"path: service.yaml\\n\"}"},
		{reason: "the spec's prefix and suffix take the place of the folder's", kustomization: "namePrefix: in-\n", spec: "namePrefix: out-\nnameSuffix: -end\n",
			object: "Service/out-web-end", path: "kind", want: "Service"},
		{reason: "targetNamespace wins", kustomization: "namespace: ns\n", spec: "targetNamespace: t\n",
			object: "Service/web", path: "metadata.namespace", want: "t"},
		{reason: "a patch of the spec", spec: "patches: [{patch: '{apiVersion: v1, kind: Service, metadata: {name: web, labels: {by: spec}}}'}]\n",
			object: "Service/web", path: "metadata.labels.by", want: "spec"},
		{reason: "an image of the spec with tag and digest", spec: "images: [{name: web, newTag: '2', digest: '" + digest + "'}]\n",
			object: "Deployment/web", path: "spec.template.spec.containers.0.image", want: "web:2@" + digest},
		{reason: "common metadata", spec: "commonMetadata: {labels: {l: v}, annotations: {a: v}}\n",
			object: "Service/web", path: "metadata.labels", want: "{l: v}"},
		{reason: "several deletions in one patch of the spec", spec: "patches: [{patch: \"apiVersion: v1\\nkind: Service\\nmetadata: {name: web}\\n$patch: delete\\n---\\napiVersion: apps/v1\\nkind: Deployment\\nmetadata: {name: web}\\n$patch: delete\\n\"}]\n",
			object: "ConfigMap/settings", path: "metadata.name", want: "settings"},
		{reason: "a deletion in each of several patches of the spec", spec: "patches: [{patch: '{apiVersion: v1, kind: Service, metadata: {name: web}, $patch: delete}'}, {patch: '{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, $patch: delete}'}]\n",
			object: "ConfigMap/settings", path: "metadata.name", want: "settings"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			files := tree{
				"kustomization.yaml": kustomization("resources: [service.yaml, web.yaml, settings.yaml]\n" + c.kustomization),
				"service.yaml":       service, "web.yaml": web,
				"settings.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n",
			}
			if strings.Contains(c.kustomization, "name: settings") { // it is generated
				files["settings.yaml"] = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: settings}\n"
			}
			for name, body := range c.more {
				files[name] = body
			}
			spec := specOf(t, c.spec)
			got, err := kustomize.Build(files.open(t), spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			kustomize.Decorate(got.Objects, spec.CommonMetadata)
			if strings.Contains(c.spec, "$patch: delete") && len(got.Objects) != 1 {
				t.Errorf("%d objects are left, want 1", len(got.Objects))
			}
			i := slices.IndexFunc(got.Objects, func(o render.Object) bool { return o.GetKind()+"/"+o.GetName() == c.object })
			if i < 0 {
				t.Fatalf("no %s in %v", c.object, names(got.Objects))
			}
			var want any
			if err := yaml.Unmarshal([]byte(c.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(plain(t, want), plain(t, field(got.Objects[i].Object, c.path))); diff != "" {
				t.Errorf("%s of %s (-want +got):\n%s", c.path, c.object, diff)
			}
		})
	}
}

// field returns what is at a path; numbers are places in a list.
func field(value any, path string) any {
	for _, name := range strings.Split(path, ".") {
		switch at := value.(type) {
		case map[string]any:
			value = at[name]
		case []any:
			value = at[int(name[0]-'0')]
		default:
			return nil
		}
	}
	return value
}

func plain(t *testing.T, value any) string {
	t.Helper()
	body, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestWhatABuildDependsOn names the ways an artifact may change under a build, and
// for each whether the same build must be made again.
func TestWhatABuildDependsOn(t *testing.T) {
	before := tree{
		"app/kustomization.yaml": kustomization("resources: [../base, plain]\ncomponents: [../component]\npatches: [{path: patch.yaml}]\n" +
			"configMapGenerator: [{name: g, files: [conf.ini], envs: [env.txt]}]\n"),
		"app/patch.yaml":               "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: one}\ndata: {p: q}\n",
		"app/conf.ini":                 "x=1",
		"app/env.txt":                  "E=1\n",
		"app/plain/kustomization.yaml": kustomization("resources: [b.yaml]\n"),
		"app/plain/b.yaml":             configB,
		"base/kustomization.yaml":      kustomization("resources: [a.yaml]\n"),
		"base/a.yaml":                  configA,
		"component/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncommonAnnotations: {c: d}\n",
		"folder/one.yaml":              configA,
		"folder/sub/two.yaml":          configB,
		"elsewhere/x.yaml":             configA,
		"app/unused.yaml":              configB,
	}
	const ofApp, ofFolder = "path: app\n", "path: folder\n"
	for _, c := range []struct {
		reason, spec, name, content string // an empty content removes the file
		again                       bool
	}{
		{"a base outside the path", ofApp, "base/a.yaml", configA + "  n: w\n", true},
		{"a base's kustomization", ofApp, "base/kustomization.yaml", kustomization("resources: [a.yaml]\nnamePrefix: p-\n"), true},
		{"a component", ofApp, "component/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n", true},
		{"a patch's file", ofApp, "app/patch.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: one}\ndata: {p: r}\n", true},
		{"a file a generator reads", ofApp, "app/conf.ini", "x=2", true},
		{"a generator's variables", ofApp, "app/env.txt", "E=2\n", true},
		{"a file is gone", ofApp, "app/plain/b.yaml", "", true},
		{"another name of the kustomization file", ofApp, "app/Kustomization", kustomization(""), true},
		{"a kustomization file beside a nested one", ofApp, "app/plain/kustomization.yml", kustomization(""), true},
		{"a file that nothing names", ofApp, "app/unused.yaml", configA, false},
		{"a new file that nothing names", ofApp, "app/new.yaml", configA, false},
		{"a file elsewhere", ofApp, "elsewhere/x.yaml", configB, false},
		{"a new file in a plain folder", ofFolder, "folder/new.yaml", configB, true},
		{"a new file deeper in a plain folder", ofFolder, "folder/sub/deep/new.yaml", configB, true},
		{"a file of a plain folder is gone", ofFolder, "folder/sub/two.yaml", "", true},
		{"a plain folder gets a kustomization", ofFolder, "folder/kustomization.yaml", kustomization("resources: [one.yaml]\n"), true},
		{"a nested plain folder gets a kustomization", ofFolder, "folder/sub/kustomization.yaml", kustomization("resources: [two.yaml]\n"), true},
		{"beside a plain folder", ofFolder, "elsewhere/y.yaml", configB, false},
		{"a component that was missing appears", ofFolder + "components: [../optional]\nignoreMissingComponents: true\n", "optional/kustomization.yaml",
			"apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncommonAnnotations: {o: p}\n", true},
	} {
		t.Run(c.reason, func(t *testing.T) {
			spec := specOf(t, c.spec)
			first, err := kustomize.Build(before.open(t), spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			after := tree{}
			for name, body := range before {
				after[name] = body
			}
			if after[c.name] = c.content; c.content == "" {
				delete(after, c.name)
			}
			if got := !same(first.Reads, after.open(t)); got != c.again {
				t.Errorf("builds again: %t, want %t; it read %+v", got, c.again, first.Reads)
			}
		})
	}
}
