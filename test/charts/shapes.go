package charts

// library is a library chart that some charts depend on.
var library = map[string]string{
	"Chart.yaml": "apiVersion: v2\nname: common\ntype: library\nversion: 1.0.0\n",
	"templates/_names.tpl": `{{- define "common.name" -}}{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}{{- end }}
{{- define "common.labels" -}}
app.kubernetes.io/name: {{ include "common.name" . }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}`,
}

// shapes are charts of one feature each, and what cannot be rendered.
func shapes() map[string]Chart {
	cache := map[string]string{
		"Chart.yaml":                 "apiVersion: v2\nname: cache\nversion: 2.0.1\nappVersion: \"7\"\n",
		"values.yaml":                "enabled: true\nport: 6379\nauth: {enabled: false, password: \"\"}\nglobal: {zone: none}\n",
		"templates/service.yaml":     "apiVersion: v1\nkind: Service\nmetadata: {name: {{ .Release.Name }}-cache}\nspec: {ports: [{port: {{ .Values.port }}}]}\n",
		"templates/secret.yaml":      "{{- if .Values.auth.enabled }}\napiVersion: v1\nkind: Secret\nmetadata: {name: {{ .Release.Name }}-cache}\ndata: {password: {{ .Values.auth.password | b64enc | quote }}}\n{{- end }}\n",
		"templates/zone.yaml":        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-zone}\ndata: {zone: {{ .Values.global.zone }}}\n",
		"templates/NOTES.txt":        "cache notes\n",
		"templates/tests/check.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: check, annotations: {helm.sh/hook: test}}\nspec: {containers: [{name: c, image: check}]}\n",
	}
	web := map[string]string{
		"Chart.yaml": `apiVersion: v2
name: web
version: 1.4.0
appVersion: 3.2.1
kubeVersion: ">=1.20.0-0"
dependencies:
- {name: common, version: 1.0.0, repository: ""}
- {name: cache, version: 2.0.1, repository: "", condition: cache.enabled, tags: [backing], import-values: [{child: auth, parent: cacheAuth}]}
`,
		"values.yaml": `replicas: 2
image: {repository: example.com/web, tag: ""}
ingress: {enabled: false, hosts: [{host: a.example.com, paths: ["/", "/api"]}]}
resources: {}
env: {}
cache: {enabled: true}
global: {zone: east}
`,
		"files/nginx.conf": "server { listen 80; }\n",
		"files/app.conf":   "level: info\n",
		"templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "common.name" . }}
  labels: {{- include "common.labels" . | nindent 4 }}
  annotations:
    checksum: {{ include (print $.Template.BasePath "/config.yaml") . | sha256sum }}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
        {{- with .Values.resources }}
        resources: {{- toYaml . | nindent 10 }}
        {{- end }}
        env:
        {{- range $k, $v := .Values.env }}
        - {name: {{ $k | upper | quote }}, value: {{ $v | quote }}}
        {{- end }}
`,
		"templates/config.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata:\n{{ (.Files.Glob \"files/*\").AsConfig | indent 2 }}\n",
		"templates/service.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n",
		"templates/ingress.yaml": `{{- if .Values.ingress.enabled -}}
{{- $api := ternary "networking.k8s.io/v1" "extensions/v1beta1" (.Capabilities.APIVersions.Has "networking.k8s.io/v1/Ingress") }}
apiVersion: {{ $api }}
kind: Ingress
metadata: {name: web}
spec:
  rules:
  {{- range .Values.ingress.hosts }}
  - host: {{ .host | quote }}
    http: {paths: [{{ range $i, $p := .paths }}{{ if $i }}, {{ end }}{path: {{ $p }}, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}{{ end }}]}
  {{- end }}
{{- end }}
`,
		"templates/rbac.yaml": "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n---\n# only a comment\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: web}\n---\n",
		"templates/NOTES.txt": "Visit {{ .Release.Name }} of {{ .Release.Namespace }}, revision {{ .Release.Revision }}\n",
		"README.md":           "# web\n",
		".helmignore":         "*.bak\n",
	}
	web = joined(web, Under("charts/common", library), Under("charts/cache", cache))
	hooks := map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: hooks\nversion: 0.0.1\n",
		"templates/a.yaml": "apiVersion: batch/v1\nkind: Job\nmetadata: {name: b, annotations: {helm.sh/hook: \"pre-install, pre-upgrade\", helm.sh/hook-weight: \"5\"}}\n---\n" +
			"apiVersion: v1\nkind: Secret\nmetadata: {name: a, annotations: {helm.sh/hook: pre-install, helm.sh/hook-weight: \"-5\", helm.sh/hook-delete-policy: \"hook-succeeded,hook-failed\"}}\n",
		"templates/z.yaml":   "apiVersion: v1\nkind: Namespace\nmetadata: {name: z}\n",
		"templates/crd.yaml": "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: in.templates}\n",
		"templates/cr.yaml":  "apiVersion: example.com/v1\nkind: Custom\nmetadata: {name: custom}\n",
	}
	capable := map[string]string{
		"Chart.yaml":        "apiVersion: v2\nname: capable\nversion: 0.1.0\n",
		"values.yaml":       "crd: true\n",
		"crds/toy.yaml":     "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: toys.example.com}\nspec: {group: example.com, names: {kind: Toy, plural: toys}, scope: Namespaced, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}\n",
		"templates/it.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: it}\ndata:\n  version: {{ .Capabilities.KubeVersion.Version }}\n  minor: {{ .Capabilities.KubeVersion.Minor | quote }}\n  new: \"{{ semverCompare \">=1.30-0\" .Capabilities.KubeVersion.GitVersion }}\"\n  upgrade: \"{{ .Release.IsUpgrade }}\"\n  install: \"{{ .Release.IsInstall }}\"\n  revision: \"{{ .Release.Revision }}\"\n",
	}
	tpl := map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: tpl\nversion: 0.1.0\n",
		"values.yaml": "greeting: hello {{ .Release.Name }}\nlist: [a, b]\nnothing: null\ndeep: {a: {b: {c: 1}}}\n",
		"templates/tpl.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: tpl}\ndata:\n  greeting: {{ tpl .Values.greeting . | quote }}\n  list: {{ .Values.list | join \",\" | quote }}\n  deep: {{ dig \"a\" \"b\" \"c\" 0 .Values.deep | quote }}\n" +
			"  json: {{ .Values.deep | toJson | quote }}\n  date: {{ \"2020-01-01\" | toDate \"2006-01-02\" | date \"2006\" | quote }}\n  merged: {{ merge (dict \"x\" 1) (dict \"x\" 2 \"y\" 3) | toJson | quote }}\n  nothing: {{ .Values.nothing | default \"none\" | quote }}\n",
		"templates/list.yaml": "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: l1}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: l2}}\n",
	}
	umbrella := joined(map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: umbrella\nversion: 9.0.0\ndependencies:\n- {name: web, version: 1.4.0, repository: \"\", alias: front, condition: front.enabled}\n- {name: web, version: 1.4.0, repository: \"\", alias: back, tags: [backend]}\n- {name: hooks, version: 0.0.1, repository: \"\", condition: hooks.enabled}\n",
		"values.yaml": "front: {replicas: 1, enabled: true}\nback: {replicas: 3, cache: {enabled: false}}\nhooks: {enabled: false}\ntags: {backend: true}\n",
	}, Under("charts/web", web), Under("charts/hooks", hooks))
	schema := map[string]string{
		"Chart.yaml":         "apiVersion: v2\nname: schema\nversion: 0.1.0\n",
		"values.yaml":        "port: 80\n",
		"values.schema.json": `{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"port": {"type": "integer", "minimum": 1}}}`,
		"templates/a.yaml":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: schema}\ndata: {port: \"{{ .Values.port }}\"}\n",
	}
	old := map[string]string{
		"Chart.yaml":              "apiVersion: v1\nname: old\nversion: 0.1.0\n",
		"requirements.yaml":       "dependencies:\n- {name: cache, version: 2.0.1, repository: \"\", condition: cache.enabled}\n",
		"templates/a.yaml":        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: old}\n",
		"charts/cache/Chart.yaml": "",
	}
	old = joined(old, Under("charts/cache", cache))
	return map[string]Chart{
		"web": {web, []string{
			"", "replicas: 5\n", "ingress: {enabled: true}\n", "cache: {enabled: false}\n", "tags: {backing: false}\n",
			"cache: {auth: {enabled: true, password: secret}}\n", "nameOverride: a-name-that-is-really-very-long-and-has-to-be-cut-somewhere-after-63-chars\n",
			"resources: {limits: {cpu: 1, memory: 64Mi}}\nenv: {b: 1, a: \"x: y\"}\n", "image: {tag: \"1.10\"}\nglobal: {zone: west}\n", "resources: null\n",
		}, true},
		"cache":    {cache, []string{"", "auth: {enabled: true, password: \"pass\\nword\"}\n", "port: 1000000\n"}, false},
		"hooks":    {hooks, []string{""}, false},
		"capable":  {capable, []string{""}, true},
		"tpl":      {tpl, []string{"", "greeting: '{{ .Values.list | len }}'\n", "list: []\ndeep: null\n"}, true},
		"umbrella": {umbrella, []string{"", "hooks: {enabled: true}\n", "tags: {backend: false}\n", "front: {enabled: false}\nback: {cache: {enabled: true}, global: {zone: x}}\n"}, false},
		"schema":   {schema, []string{"", "port: 0\n", "port: text\n"}, false},
		"old":      {old, []string{"", "cache: {enabled: false}\n"}, true},
		"library":  {library, []string{""}, false},
		"empty":    {map[string]string{"Chart.yaml": "apiVersion: v2\nname: empty\nversion: 0.0.1\n"}, []string{""}, true},
		"fails": {
			map[string]string{"Chart.yaml": "apiVersion: v2\nname: fails\nversion: 0.0.1\n", "templates/a.yaml": "{{ required \"say a name\" .Values.name }}"},
			[]string{"", "name: a\n"}, false,
		},
		"broken": {map[string]string{"Chart.yaml": "apiVersion: v2\nname: broken\nversion: 0.0.1\n", "templates/a.yaml": "kind: [a\n"}, []string{""}, false},
		"future": {map[string]string{"Chart.yaml": "apiVersion: v2\nname: future\nversion: 0.0.1\nkubeVersion: \">=9.0\"\n"}, []string{""}, false},
	}
}
