package e2e

import (
	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
)

const kustomizationHead = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"

// badTrees are files that cannot be built.
func badTrees() []badInput {
	inputs := []badInput{
		{
			name: "dotdot", why: "a path with .. leaves the artifact",
			files:   map[string]string{"bad/kustomization.yaml": kustomizationHead + "resources: [../../outside.yaml]\n"},
			message: []string{"bad/kustomization.yaml", "resources", "../../outside.yaml", "leaves the artifact"},
		},
		{
			name: "absolute", why: "an absolute path leaves the artifact",
			files:   map[string]string{"bad/kustomization.yaml": kustomizationHead + "resources: [/etc/hostname]\n"},
			message: []string{"bad/kustomization.yaml", "resources", "/etc/hostname", "leaves the artifact"},
		},
		{
			name: "symlink", why: "a link may lead anywhere, so artifacts carry none",
			files:   map[string]string{"bad/kustomization.yaml": kustomizationHead + "resources: [linked.yaml]\n"},
			link:    [2]string{"bad/linked.yaml", "/etc/hostname"},
			message: []string{"bad/kustomization.yaml", "linked.yaml"},
		},
		{
			name: "generator", why: "a generator must not read files of the machine",
			files:   map[string]string{"bad/kustomization.yaml": kustomizationHead + "configMapGenerator:\n- name: stolen\n  files: [passwd=/etc/passwd]\n"},
			message: []string{"bad/kustomization.yaml", "configMapGenerator.files", "/etc/passwd", "leaves the artifact"},
		},
		{
			name: "loop", why: "two kustomizations include each other",
			files: map[string]string{
				"bad/kustomization.yaml":   kustomizationHead + "resources: [../other]\n",
				"other/kustomization.yaml": kustomizationHead + "resources: [../bad]\n",
			},
			message: []string{"the kustomizations form a loop", "kustomization.yaml"},
		},
		{
			name: "remote", why: "a build has no network",
			files:   map[string]string{"bad/kustomization.yaml": kustomizationHead + "resources: [\"https://github.com/example/base?ref=v1\"]\n"},
			message: []string{"bad/kustomization.yaml", "resources", "https://github.com/example/base", "not allowed in a build"},
		},
		{
			name: "yaml", why: "a file is no YAML",
			files:   map[string]string{"bad/broken.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [broken\n"},
			message: []string{"bad/broken.yaml"},
		},
		{
			name: "variable", why: "a variable has neither a value nor a default",
			files: map[string]string{"bad/settings.yaml": configMap("settings", "${nobody_set_it}")},
			create: func(n tenant) {
				n.app("bad", map[string]any{"postBuild": map[string]any{"substitute": map[string]any{"other": "x"}}})
			},
			message: []string{"settings", "variable not set", "nobody_set_it"},
		},
	}
	for i := range inputs {
		inputs[i].kind, inputs[i].event, inputs[i].reason = harness.KustomizationKind, events.TypeBuildFailed, "BuildFailed"
	}
	return append(inputs, badInput{
		name: "path", why: "spec.path names no folder of the artifact",
		create:  func(n tenant) { n.app("bad", map[string]any{"path": "./nowhere"}) },
		kind:    harness.KustomizationKind,
		reason:  "ArtifactFailed",
		message: []string{"kustomization path not found", "nowhere"},
		event:   events.TypeBuildFailed,
	}, badInput{
		name: "specpath", why: "spec.path leaves the artifact",
		create:  func(n tenant) { n.app("bad", map[string]any{"path": "../../etc"}) },
		kind:    harness.KustomizationKind,
		reason:  "BuildFailed",
		message: []string{"spec.path", "../../etc", "leaves the artifact"},
		event:   events.TypeBuildFailed,
	})
}
