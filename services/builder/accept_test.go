package builder_test

import (
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/events"
	dt "github.com/sluice-gitops/sluice/services/builder/internal/decrypt/decrypttest"
)

type spec = kustomizev1.KustomizationSpec

// acceptCase is a field of a Kustomization's build, or an acceptance case of Flux's by
// its name there; docs/compatibility.md lists them all.
type acceptCase struct {
	name, reason string
	// spec is edited; the path is app.
	spec func(*spec)
	// given are objects of the Kustomization's namespace.
	given []client.Object
	files map[string]string
	// want are the built objects in their order, as YAML documents.
	want []string
	// failure is the reason and message of a build that fails, in part.
	failure string
	// then changes the spec of what was built, and after is what is built then.
	then  func(*spec)
	after []string
}

func accepted(t *testing.T, w *world) {
	for _, tt := range slices.Concat(fieldCases(), transformerCases(), variableCases(), decryptionCases(t)) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			t.Log(tt.reason)
			a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
				if tt.spec != nil {
					tt.spec(&ks.Spec)
				}
			})
			for _, o := range tt.given {
				o.SetNamespace(a.namespace)
				a.must(a.Create(t.Context(), o))
			}
			a.push("main@sha1:1", tt.files)
			if tt.failure != "" {
				reason, message, _ := strings.Cut(tt.failure, ": ")
				if f := a.failed(tt.reason, message); f.Reason != reason || f.Stalled {
					t.Errorf("got %+v", f)
				}
				return
			}
			first := a.rendered(tt.reason)
			a.holds(first, tt.want)
			if tt.then == nil {
				return
			}
			a.edit(func(ks *kustomizev1.Kustomization) { tt.then(&ks.Spec) })
			a.holds(await(a, "the changed spec", func(d events.BuildRendered) bool { return d.RenderID != first.RenderID }), tt.after)
		})
	}
}

// holds compares the objects of a render with YAML documents.
func (a *app) holds(d events.BuildRendered, want []string) {
	a.t.Helper()
	wanted, got := []map[string]any{}, []map[string]any{}
	for _, text := range want {
		body, err := yaml.YAMLToJSON([]byte(text))
		a.must(err)
		o := &unstructured.Unstructured{}
		a.must(o.UnmarshalJSON(body))
		wanted = append(wanted, o.Object)
	}
	for _, o := range a.open(d) {
		got = append(got, o.Object)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		a.t.Errorf("objects differ (-want +got):\n%s", diff)
	}
}

// object is a manifest of one line; rest are fields beside type and metadata.
func object(apiVersion, kind, metadata, rest string) string {
	text := "{apiVersion: " + apiVersion + ", kind: " + kind + ", metadata: {" + metadata + "}"
	if rest != "" {
		text += ", " + rest
	}
	return text + "}\n"
}

func mapOf(metadata, data string) string {
	return object("v1", "ConfigMap", metadata, "data: {"+data+"}")
}

func documents(all ...string) string { return strings.Join(all, "---\n") }

// web is a Deployment of one container.
func web(metadata, image string) string {
	return object("apps/v1", "Deployment", metadata,
		"spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: '"+image+"'}]}}}")
}

// fieldCases are the fields of the spec that change what is built.
func fieldCases() []acceptCase {
	two := map[string]string{"app/a.yaml": documents(mapOf("name: a", "k: v"), mapOf("name: b", "k: v"))}
	component := map[string]string{
		"app/a.yaml":                 mapOf("name: a", "k: v"),
		"parts/x/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nconfigMapGenerator: [{name: a, behavior: merge, literals: [x=new], options: {disableNameSuffixHash: true}}]\n",
	}
	return []acceptCase{
		{name: "path", reason: "a folder without kustomization is built as its manifests and its folders with one, in their order",
			files: map[string]string{
				"app/b.yaml": mapOf("name: b", "k: v"), "app/a.yml": mapOf("name: a", "k: v"), "app/read.me": "no: manifest", "app/deep/c.yaml": mapOf("name: c", "k: v"),
				"app/own/kustomization.yaml": "namePrefix: own-\nresources: [d.yaml]\n", "app/own/d.yaml": mapOf("name: d", "k: v"), "app/own/left.yaml": mapOf("name: out", "k: v"),
			},
			want: []string{mapOf("name: a", "k: v"), mapOf("name: b", "k: v"), mapOf("name: c", "k: v"), mapOf("name: own-d", "k: v")}},
		{name: "long failure", reason: "a message that quotes a long text is told as far as an event has room for it",
			files:   map[string]string{"app/kustomization.yaml": "resources: ['" + strings.Repeat("long/", 400_000) + "a.yaml']\n"},
			failure: "BuildFailed: (cut; "},
		{name: "empty", reason: "an empty folder is an empty build, not a failed one", files: map[string]string{"app/read.me": "nothing"}},
		{name: "targetNamespace", reason: "it is the namespace of everything that has one, and creates none", spec: func(s *spec) { s.TargetNamespace = "there" },
			files: map[string]string{"app/a.yaml": documents(mapOf("name: a, namespace: here", "k: v"), object("rbac.authorization.k8s.io/v1", "ClusterRole", "name: r", "rules: []"))},
			want:  []string{mapOf("name: a, namespace: there", "k: v"), object("rbac.authorization.k8s.io/v1", "ClusterRole", "name: r", "rules: []")}},
		{name: "namePrefix, nameSuffix", reason: "names change, and what refers to them", spec: func(s *spec) { s.NamePrefix, s.NameSuffix = "p-", "-s" },
			files: map[string]string{"app/a.yaml": documents(mapOf("name: a", "k: v"), object("v1", "Pod", "name: pod", "spec: {containers: [{name: c, envFrom: [{configMapRef: {name: a}}]}]}"))},
			want:  []string{mapOf("name: p-a-s", "k: v"), object("v1", "Pod", "name: p-pod-s", "spec: {containers: [{name: c, envFrom: [{configMapRef: {name: p-a-s}}]}]}")}},
		{name: "commonMetadata", reason: "it is added to every object, over the object's own, and goes when it leaves the spec",
			spec: func(s *spec) {
				s.CommonMetadata = &kustomizev1.CommonMetadata{Labels: map[string]string{"team": "x"}, Annotations: map[string]string{"note": "text"}}
			},
			files: map[string]string{"app/a.yaml": documents(mapOf("name: a, labels: {team: old, own: o}", "k: v"), mapOf("name: b", "k: v"))},
			want:  []string{mapOf("name: a, labels: {team: x, own: o}, annotations: {note: text}", "k: v"), mapOf("name: b, labels: {team: x}, annotations: {note: text}", "k: v")},
			then:  func(s *spec) { s.CommonMetadata = nil },
			after: []string{mapOf("name: a, labels: {team: old, own: o}", "k: v"), mapOf("name: b", "k: v")}},
		{name: "components", reason: "they are built over the path's objects", spec: func(s *spec) { s.Components = []string{"../parts/x"} },
			files: component, want: []string{mapOf("name: a", "k: v, x: new")}},
		{name: "components, missing", reason: "a component that is not there fails the build", spec: func(s *spec) { s.Components = []string{"../parts/gone"} },
			files: component, failure: "BuildFailed: parts/gone"},
		{name: "ignoreMissingComponents", reason: "one that is not there is left out, the others are built",
			spec:  func(s *spec) { s.Components, s.IgnoreMissingComponents = []string{"../parts/gone", "../parts/x"}, true },
			files: component, want: []string{mapOf("name: a", "k: v, x: new")}},
		{name: "buildMetadata", reason: "origins are noted where the spec asks for them, and nowhere else", spec: func(s *spec) { s.BuildMetadata = []kustomizev1.BuildMetadataOption{"originAnnotations"} },
			files: map[string]string{"app/a.yaml": mapOf("name: a", "k: v")},
			want:  []string{mapOf(`name: a, annotations: {config.kubernetes.io/origin: "path: a.yaml\n"}`, "k: v")},
			then:  func(s *spec) { s.BuildMetadata = nil }, after: []string{mapOf("name: a", "k: v")}},
		{name: "Validation, YAML", reason: "invalid YAML fails and names its file", files: map[string]string{"app/bad.yaml": "a: b: c"}, failure: "BuildFailed: app/bad.yaml"},
		{name: "Validation, overlay", reason: "an overlay of what is not there fails", files: map[string]string{"app/kustomization.yaml": "resources: [gone.yaml]\n"}, failure: "BuildFailed: gone.yaml"},
		{name: "patches", reason: "merge patches and JSON patches reach what their targets select, and only that",
			spec: func(s *spec) {
				s.Patches = []patch{
					{Patch: "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {merged: x}}"},
					{Patch: "- {op: add, path: /data/json, value: added}", Target: &selector{Kind: "ConfigMap", Name: "b"}},
					{Patch: "{apiVersion: v1, kind: ConfigMap, metadata: {name: any}, data: {all: z}}", Target: &selector{Kind: "ConfigMap", Name: "[ab]"}},
				}
			},
			files: two, want: []string{mapOf("name: a", "k: v, merged: x, all: z"), mapOf("name: b", "k: v, json: added, all: z")}},
		{name: "patches, two deletions in one", reason: "one patch of two documents deletes two objects",
			spec: func(s *spec) {
				s.Patches = []patch{{Patch: documents("{$patch: delete, apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n", "{$patch: delete, apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n")}}
			},
			files: map[string]string{"app/a.yaml": two["app/a.yaml"], "app/c.yaml": mapOf("name: c", "k: v")}, want: []string{mapOf("name: c", "k: v")}},
		{name: "patches, two that delete", reason: "each deletes its object",
			spec: func(s *spec) {
				for _, name := range []string{"a", "b"} {
					s.Patches = append(s.Patches, patch{Patch: "{$patch: delete, apiVersion: v1, kind: ConfigMap, metadata: {name: " + name + "}}"})
				}
			},
			files: map[string]string{"app/a.yaml": two["app/a.yaml"], "app/c.yaml": mapOf("name: c", "k: v")}, want: []string{mapOf("name: c", "k: v")}},
		{name: "images", reason: "a new name, a tag and a digest replace; what the kustomization says of the same image gives way, tag and digest as one",
			spec: func(s *spec) {
				s.Images = []image{{Name: "one", NewName: "own/one", NewTag: "2"}, {Name: "two", NewTag: "v2", Digest: "sha256:24a0c4b4a4c0eb97a1aabb8e29f18e917d05abfe1b7a7c07857230879ce7d3d3"}}
			},
			files: map[string]string{
				"app/kustomization.yaml": "resources: [a.yaml]\nimages: [{name: one, newName: other/one, digest: 'sha256:abc'}, {name: three, newTag: '3'}]\n",
				"app/a.yaml":             documents(web("name: a", "one:1"), web("name: b", "two:1"), web("name: c", "three")),
			},
			want: []string{web("name: a", "own/one:2"), web("name: b", "two:v2@sha256:24a0c4b4a4c0eb97a1aabb8e29f18e917d05abfe1b7a7c07857230879ce7d3d3"), web("name: c", "three:3")}},
	}
}

// decryptionCases decrypt each kind of input with the keys of a Secret.
func decryptionCases(t *testing.T) []acceptCase {
	key := dt.NewAge(t)
	to := dt.For{Age: []dt.Age{key}}
	data := to
	data.Regex = "^(data|stringData)$"
	opened := func(s *spec) {
		s.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &fluxmeta.LocalObjectReference{Name: "keys"}}
	}
	given := func() []client.Object {
		return []client.Object{&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "keys"}, Data: map[string][]byte{"id.agekey": key.Private()}}}
	}
	closed := dt.Encrypt(t, "yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations:\n    kustomize.toolkit.fluxcd.io/decrypt: disabled\ndata:\n  k: hunter2\n", data)
	generator := "secretGenerator: [{name: s, envs: [a.env], files: [b.json, c.bin, d.ini], options: {disableNameSuffixHash: true}}]\n"
	return []acceptCase{
		{name: "Decryptor, Secret generators", reason: "files and variables are decrypted by their formats before they are encoded", spec: opened, given: given(),
			files: map[string]string{
				"app/kustomization.yaml": generator, "app/a.env": dt.Encrypt(t, "dotenv", "PASS=hunter2\n", to), "app/b.json": dt.Encrypt(t, "json", `{"p":"hunter3"}`, to),
				"app/c.bin": dt.Encrypt(t, "binary", "hunter4", to), "app/d.ini": dt.Encrypt(t, "ini", "[s]\np = hunter5\n", to),
			},
			want: []string{object("v1", "Secret", "name: s", "type: Opaque, data: {PASS: aHVudGVyMg==, b.json: ewoJInAiOiAiaHVudGVyMyIKfQo=, c.bin: aHVudGVyNA==, d.ini: W3NdCnAgPSBodW50ZXI1Cg==}")}},
		{name: "Decryptor, objects and patches", reason: "a manifest and a patch file are decrypted", spec: opened, given: given(),
			files: map[string]string{
				"app/kustomization.yaml": "resources: [s.yaml, a.yaml]\npatches: [{path: p.yaml}]\n",
				"app/a.yaml":             mapOf("name: a", "k: v"),
				"app/s.yaml":             dt.Encrypt(t, "yaml", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  a: hunter2\n", data),
				"app/p.yaml":             dt.Encrypt(t, "yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  b: hunter3\n", data),
			},
			want: []string{object("v1", "Secret", "name: s", "stringData: {a: hunter2}"), mapOf("name: a", "k: v, b: hunter3")}},
		{name: "Decryptor, opt-out", reason: "an object that says so stays encrypted", spec: opened, given: given(),
			files: map[string]string{"app/a.yaml": closed}, want: []string{closed}},
		{name: "Decryptor, not asked for", reason: "an encrypted Secret is not applied as it is", failure: "ReconciliationFailed: Secret//s is SOPS encrypted, configuring decryption is required for this secret to be reconciled",
			files: map[string]string{"app/s.yaml": dt.Encrypt(t, "yaml", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  a: hunter2\n", data)}},
	}
}
