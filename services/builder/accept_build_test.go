package builder_test

import (
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

type (
	patch    = kustomize.Patch
	selector = kustomize.Selector
	image    = kustomize.Image
)

// transformerCases are what a kustomization can do to objects.
func transformerCases() []acceptCase {
	return []acceptCase{
		{name: "Transformers", reason: "all of kustomize's in one kustomization, with the spec's own on top",
			spec: func(s *spec) { s.NamePrefix, s.TargetNamespace = "flux-", "there" },
			files: map[string]string{
				"app/kustomization.yaml": `namespace: web
nameSuffix: -v1
resources: [d.yaml]
commonAnnotations: {note: text}
labels: [{pairs: {team: x}, includeSelectors: true}]
configMapGenerator: [{name: env, literals: [A=1]}]
secretGenerator: [{name: pw, literals: [P=hunter2], options: {disableNameSuffixHash: true}}]
replicas: [{name: web, count: 3}]
images: [{name: app, newName: own/app, newTag: '2'}]
patches:
- path: merge.yaml
- {path: json.yaml, target: {kind: Service}}
replacements: [{source: {kind: Service, name: web, fieldPath: metadata.name}, targets: [{select: {kind: Deployment}, fieldPaths: [spec.template.spec.hostname]}]}]
`,
				"app/merge.yaml": object("apps/v1", "Deployment", "name: web", "spec: {template: {spec: {containers: [{name: c, tty: true}]}}}"),
				"app/json.yaml":  "- {op: replace, path: /spec/ports/0/port, value: 81}\n",
				"app/d.yaml": documents(
					object("apps/v1", "Deployment", "name: web", "spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {hostname: host, containers: [{name: c, image: 'app:1', envFrom: [{configMapRef: {name: env}}, {secretRef: {name: pw}}]}]}}}"),
					object("v1", "Service", "name: web", "spec: {selector: {app: web}, ports: [{port: 80}]}")),
			},
			want: []string{
				object("apps/v1", "Deployment", "name: flux-web-v1, namespace: there, labels: {team: x}, annotations: {note: text}",
					"spec: {replicas: 3, selector: {matchLabels: {app: web, team: x}}, template: {metadata: {labels: {app: web, team: x}, annotations: {note: text}}, "+
						"spec: {hostname: flux-web-v1, containers: [{name: c, image: 'own/app:2', tty: true, envFrom: [{configMapRef: {name: flux-env-v1-89g4tffbfk}}, {secretRef: {name: flux-pw-v1}}]}]}}}"),
				object("v1", "Service", "name: flux-web-v1, namespace: there, labels: {team: x}, annotations: {note: text}", "spec: {selector: {app: web, team: x}, ports: [{port: 81}]}"),
				mapOf("name: flux-env-v1-89g4tffbfk, namespace: there, labels: {team: x}, annotations: {note: text}", "A: '1'"),
				object("v1", "Secret", "name: flux-pw-v1, namespace: there, labels: {team: x}, annotations: {note: text}", "type: Opaque, data: {P: aHVudGVyMg==}"),
			}},
		{name: "Transformers, generators", reason: "files, variables and literals, the spec's prefix in front of a name that ends in the content's hash",
			spec: func(s *spec) { s.NamePrefix = "p-" },
			files: map[string]string{
				"app/kustomization.yaml": "configMapGenerator: [{name: a, files: [f.txt, key=f.txt], envs: [e.env], literals: [l=v], options: {labels: {gen: x}, disableNameSuffixHash: true}}, {name: b, literals: [k=v]}]\n",
				"app/f.txt":              "text\n", "app/e.env": "E=1\n",
			},
			want: []string{mapOf("name: p-a, labels: {gen: x}", `E: "1", f.txt: "text\n", key: "text\n", l: v`), mapOf("name: p-b-bdg947hgcc", "k: v")}},
		{name: "overlays", reason: "two overlays of one base differ in what they say, staging", spec: func(s *spec) { s.Path = "deploy/overlays/staging" },
			files: overlays(), want: []string{web("name: backend, namespace: staging", "backend:1"), web("name: frontend, namespace: staging", "frontend:1")},
			then: func(s *spec) { s.Path = "deploy/overlays/production" }, after: []string{
				web("name: backend, namespace: production", "backend:1"), web("name: frontend, namespace: production", "frontend:stable"),
			}},
	}
}

// overlays is a repository of two environments.
func overlays() map[string]string {
	return map[string]string{
		"deploy/bases/backend/kustomization.yaml": "resources: [d.yaml]\n", "deploy/bases/backend/d.yaml": web("name: backend", "backend:1"),
		"deploy/bases/frontend/kustomization.yaml": "resources: [d.yaml]\n", "deploy/bases/frontend/d.yaml": web("name: frontend", "frontend:1"),
		"deploy/overlays/staging/kustomization.yaml":    "namespace: staging\nresources: [../../bases/backend, ../../bases/frontend]\n",
		"deploy/overlays/production/kustomization.yaml": "namespace: production\nresources: [../../bases/backend, ../../bases/frontend]\nimages: [{name: frontend, newTag: stable}]\n",
	}
}

func substitute(variables map[string]string, from ...kustomizev1.SubstituteReference) func(*spec) {
	return func(s *spec) { s.PostBuild = &kustomizev1.PostBuild{Substitute: variables, SubstituteFrom: from} }
}

// variableCases substitute variables after the build.
func variableCases() []acceptCase {
	always := func(s *spec) {
		s.PostBuild = &kustomizev1.PostBuild{SubstituteStrategy: kustomizev1.SubstituteStrategyAlways}
	}
	vars := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "vars"}, Data: map[string]string{"zone": "az-1", "both": "map"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "secret"}, StringData: map[string]string{"pass": "hunter2", "both": "secret", "inline": "no"}}
	with := func(metadata, data string) map[string]string {
		return map[string]string{"app/a.yaml": mapOf(metadata, data)}
	}
	expressions, values := "", ""
	for i, e := range [][2]string{
		{"${no:=d}", "d"}, {"${no:-d}", "d"}, {"${no=d}", "d"}, {"${v:2}", "llo"}, {"${v:1:3}", "ell"},
		{"${v/l/L}", "heLlo"}, {"${v//l/L}", "heLLo"}, {"${v/#he/HE}", "HEllo"}, {"${v/%lo/LO}", "helLO"},
		{"${v#*l}", "lo"}, {"${v##*l}", "o"}, {"${v%l*}", "hel"}, {"${v%%l*}", "he"},
		{"${v^}", "Hello"}, {"${v^^}", "HELLO"}, {"${V,}", "hELLO"}, {"${V,,}", "hello"}, {"${#v}x", "5x"}, {"$v", "$v"}, {"$${v}", "${v}"},
	} {
		expressions += fmt.Sprintf("k%d: '%s', ", i, e[0])
		values += fmt.Sprintf("k%d: '%s', ", i, e[1])
	}
	return []acceptCase{
		{name: "Varsub, functions", reason: "every function of the reference, a dollar without braces and an escaped variable",
			spec: substitute(map[string]string{"v": "hello", "V": "HELLO"}), files: with("name: a", expressions), want: []string{mapOf("name: a", values)}},
		{name: "Varsub", reason: "values reach labels and data; later sources win, inline ones over all; lines are joined",
			spec:  substitute(map[string]string{"inline": "i\nj"}, kustomizev1.SubstituteReference{Kind: "ConfigMap", Name: "vars"}, kustomizev1.SubstituteReference{Kind: "Secret", Name: "secret"}),
			given: []client.Object{vars, secret},
			files: with("name: a, labels: {zone: '${zone}'}", "k: '${pass}-${both}-${inline}'"), want: []string{mapOf("name: a, labels: {zone: az-1}", "k: hunter2-secret-ij")}},
		{name: "Varsub, Optional", reason: "an optional ConfigMap that is not there leaves the inline values",
			spec:  substitute(map[string]string{"v": "inline"}, kustomizev1.SubstituteReference{Kind: "ConfigMap", Name: "gone", Optional: true}),
			files: with("name: a", "k: '${v}'"), want: []string{mapOf("name: a", "k: inline")}},
		{name: "Varsub, missing", reason: "one that is not optional fails", spec: substitute(nil, kustomizev1.SubstituteReference{Kind: "ConfigMap", Name: "gone"}),
			files: with("name: a", "k: '${v}'"), failure: `BuildFailed: substitute from 'ConfigMap/gone' error: configmaps "gone" not found`},
		{name: "Varsub, WithVariables", reason: "without any variable nothing is substituted, not even a default", spec: substitute(nil),
			files: with("name: a", "k: '${v:=d}'"), want: []string{mapOf("name: a", "k: '${v:=d}'")}},
		{name: "Varsub, Always", reason: "defaults apply without any variable", spec: always, files: with("name: a", "k: '${v:=d}'"), want: []string{mapOf("name: a", "k: d")}},
		{name: "Varsub, NumberBool", reason: "text stays text where a variable is a quote or has quotes; without them types are YAML's; a unit makes text",
			spec:  substitute(map[string]string{"q": `"`, "number": "123", "boolean": "true", "quoted": `"true"`}),
			files: map[string]string{"app/a.yaml": object("example.com/v1", "Thing", "name: a", `spec: {a: "${q}${number}${q}", b: "${q}${boolean}${q}", c: "${quoted}", d: "${number}m", e: "${number}", f: "${boolean}"}`)},
			want:  []string{object("example.com/v1", "Thing", "name: a", `spec: {a: "123", b: "true", c: "true", d: 123m, e: 123, f: true}`)}},
		{name: "Varsub, Strict", reason: "a variable without value and default fails", spec: substitute(map[string]string{"v": "x"}),
			files: with("name: a", "k: '${other}'"), failure: "BuildFailed: post build failed for 'ConfigMap.v1.[noGrp]/a' from app/a.yaml: envsubst error: variable substitution failed: variable not set (strict mode)"},
		{name: "Varsub, name", reason: "a name that is none fails", spec: substitute(map[string]string{"a-b": "x"}),
			files: with("name: a", "k: v"), failure: "BuildFailed: 'a-b' var name is invalid, must match '^[_[:alpha:]][_[:alpha:][:digit:]]*$'"},
		{name: "Varsub, opt-out", reason: "a label or an annotation leaves an object as it is", spec: substitute(map[string]string{"v": "x"}),
			files: map[string]string{"app/a.yaml": documents(
				mapOf("name: a, labels: {kustomize.toolkit.fluxcd.io/substitute: disabled}", "k: '${v}'"),
				mapOf("name: b, annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}", "k: '${v}'"), mapOf("name: c", "k: '${v}'"))},
			want: []string{mapOf("name: a, labels: {kustomize.toolkit.fluxcd.io/substitute: disabled}", "k: '${v}'"),
				mapOf("name: b, annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}", "k: '${v}'"), mapOf("name: c", "k: x")}},
	}
}
