package treetest

import (
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
)

// Random is a repository made by chance: folders with a kustomization each, later
// ones using earlier ones, and the last one, "k9", to be built. Some are wrong: an
// object twice, a patch for nothing, an ambiguous reference.
func Random(r *rand.Rand) Files {
	g := &maker{Rand: r, files: Files{}}
	var bases, components []string
	for i := range 9 {
		if !g.often(60) {
			continue
		}
		folder := fmt.Sprintf("k%d", i)
		if g.often(25) {
			g.kustomization(folder, "Component", bases, components)
			components = append(components, folder)
			continue
		}
		g.kustomization(folder, "Kustomization", bases, components)
		bases = append(bases, folder)
	}
	g.kustomization("k9", "Kustomization", bases, components)
	return g.files
}

type maker struct {
	*rand.Rand
	files Files
	used  int
	// deployments and generated are names that there are.
	deployments, generated []string
}

// known is mostly one of some names.
func (g *maker) known(names []string) string {
	if len(names) == 0 || g.often(5) {
		return g.name()
	}
	return g.pick(names...)
}

// often is true in so many of a hundred cases.
func (g *maker) often(percent int) bool { return g.IntN(100) < percent }

func (g *maker) pick(of ...string) string { return of[g.IntN(len(of))] }

func (g *maker) name() string {
	if g.often(97) {
		g.used++ // mostly new names, so that most trees can be built
		return fmt.Sprintf("%s%d", g.pick("a", "b", "c"), g.used%7+7*g.IntN(5))
	}
	return g.pick("a0", "b1", "default")
}

func (g *maker) namespace() string { return g.pick("", "", "", "one", "two", "default") }

// kustomization writes a folder.
func (g *maker) kustomization(folder, kind string, bases, components []string) {
	var k strings.Builder
	version := "v1beta1"
	if kind == "Component" {
		version = "v1alpha1"
	}
	fmt.Fprintf(&k, "apiVersion: kustomize.config.k8s.io/%s\nkind: %s\n", version, kind)
	var resources []string
	for _, base := range bases {
		if g.often(30) {
			resources = append(resources, "../"+base)
		}
	}
	for i := range g.IntN(4) {
		file := fmt.Sprintf("f%d.yaml", i)
		g.files[path.Join(folder, file)] = g.manifest()
		resources = append(resources, file)
	}
	fmt.Fprintf(&k, "resources: [%s]\n", strings.Join(resources, ", "))
	var used []string
	for _, c := range components {
		if g.often(30) {
			used = append(used, "../"+c)
		}
	}
	if len(used) > 0 {
		fmt.Fprintf(&k, "components: [%s]\n", strings.Join(used, ", "))
	}
	for _, field := range []func(folder string) string{g.naming, g.metadata, g.generators, g.patches, g.others} {
		k.WriteString(field(folder))
	}
	if folder == "k9" {
		k.WriteString("buildMetadata: [originAnnotations]\n")
	}
	g.files[path.Join(folder, g.pick("kustomization.yaml", "kustomization.yml", "Kustomization"))] = k.String()
}

func (g *maker) naming(string) string {
	out := ""
	if g.often(35) {
		out += "namespace: " + g.pick("one", "two", "three", "default", `"123"`) + "\n"
	}
	if g.often(10) {
		out += "namePrefix: p-\n"
	}
	if g.often(10) {
		out += "nameSuffix: -s\n"
	}
	return out
}

func (g *maker) metadata(string) string {
	out := ""
	if g.often(30) {
		out += "commonLabels: {team: " + g.pick("x", `"1"`, `"yes"`) + "}\n"
	}
	if g.often(30) {
		out += fmt.Sprintf("labels:\n- pairs: {tier: t, app: %s}\n", g.pick("z", `"2001-01-01"`))
		out += g.pick("", "  includeSelectors: true\n", "  includeTemplates: true\n", "  includeVolumeClaimTemplates: true\n",
			"  fields: [{path: spec/labels, create: true, kind: Thing}]\n", "  fields: [{path: metadata/labels, create: true}]\n")
	}
	if g.often(30) {
		out += "commonAnnotations: {note: " + g.pick("note", `"0o7"`, `"1e3"`) + "}\n"
	}
	return out
}

func (g *maker) generators(folder string) string {
	out := ""
	for _, kind := range []string{"configMapGenerator", "secretGenerator"} {
		if !g.often(20) {
			continue
		}
		if kind == "configMapGenerator" && len(g.generated) > 0 && g.often(40) {
			out += kind + ":\n- name: " + g.pick(g.generated...) + "\n" + g.pick("", "", "  namespace: one\n") + g.pick("  behavior: merge\n", "  behavior: replace\n")
		} else {
			name := g.name()
			out += kind + ":\n- name: " + name + "\n" + g.pick("", "", "  namespace: one\n")
			g.generated = append(g.generated, name)
		}
		out += g.pick("  literals: [a=b, c=d]\n", "  files: [data.txt, x=data.txt]\n", "  envs: [data.env]\n", "  literals: [n=1]\n")
		out += g.pick("", "", "  options: {disableNameSuffixHash: true, labels: {gen: g}}\n", "  options: {immutable: true, annotations: {a: b}}\n")
		g.files[path.Join(folder, "data.txt")] = g.pick("text\n", "", "a\r\nb\n", "\xff\xfe")
		g.files[path.Join(folder, "data.env")] = "A=1\n# no\nB=two words\n"
	}
	if g.often(10) {
		out += "generatorOptions: " + g.pick("{disableNameSuffixHash: true}", "{labels: {all: g}}") + "\n"
	}
	return out
}

func (g *maker) others(string) string {
	out := ""
	if g.often(25) {
		out += "images:\n- {name: app, newTag: v2}\n" + g.pick("", "- {name: side, newName: reg.example.com/side, digest: 'sha256:00'}\n")
	}
	if g.often(8) && len(g.deployments) > 0 {
		out += "replicas:\n- {name: " + g.known(g.deployments) + ", count: 3}\n"
	}
	return out
}

func (g *maker) patches(folder string) string {
	out := ""
	for range g.IntN(3) {
		if !g.often(50) {
			continue
		}
		switch g.IntN(8) {
		case 0:
			out += "- target: {kind: " + g.pick("Deployment", "ConfigMap|Service", "Thing", "Deploy.*") + "}\n  patch: |\n    [{\"op\": \"add\", \"path\": \"/metadata/labels\", \"value\": {\"json\": \"j\"}}]\n"
		case 1:
			out += "- target: {kind: Deployment, labelSelector: app}\n  patch: |\n    - {op: replace, path: /spec/replicas, value: 4}\n"
		case 2:
			out += "- target: {kind: " + g.pick("ConfigMap", "ServiceAccount", "Thing") + ", name: '" + g.pick("a.*", "b.*", ".*1") + "'}\n  patch: |\n    $patch: delete\n    apiVersion: v1\n    kind: X\n    metadata: {name: x}\n"
		case 3:
			out += "- target: {kind: ConfigMap}\n  patch: |\n    {apiVersion: v1, kind: ConfigMap, metadata: {name: any, annotations: null}, data: {patched: \"y\"}}\n"
		case 4:
			out += "- target: {kind: Service, name: 'a.*'}\n  options: {allowNameChange: true}\n  patch: |\n    {apiVersion: v1, kind: Service, metadata: {name: renamed}}\n"
		case 5:
			out += "- target: {kind: ConfigMap, name: 'a1.*'}\n  patch: |\n    - {op: replace, path: /metadata/name, value: other}\n"
		case 6:
			if len(g.deployments) == 0 {
				continue
			}
			g.files[path.Join(folder, "patch.yaml")] = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: " + g.known(g.deployments) + "\nspec:\n  template:\n    spec:\n      containers:\n      - name: main\n        env: [{name: P, value: \"1\"}]\n"
			out += "- path: patch.yaml\n"
		case 7:
			out += "- target: {kind: Deployment}\n  patch: |\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: any}\n    spec: {template: {spec: {containers: [{name: extra, image: 'app:1'}, {$patch: delete, name: side}]}}}\n"
		}
	}
	if out == "" {
		return ""
	}
	return "patches:\n" + out
}
