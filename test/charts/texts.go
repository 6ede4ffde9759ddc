package charts

// texts are charts that are hard on templates, YAML and numbers.
func texts() map[string]Chart {
	return map[string]Chart{
		"files":      {files(), []string{"", "only: b\n"}, true},
		"multi":      {multi(), []string{"", "more: true\n"}, true},
		"numbers":    {numbers(), []string{"", "big: 12345678901\nratio: 0.1\n", "flag: \"true\"\nbig: 1e6\n"}, true},
		"dashboards": {dashboards(), []string{"", "title: \"a \\\"b\\\" {{ c }}\"\n"}, true},
	}
}

func files() map[string]string {
	return map[string]string{
		"Chart.yaml":       "apiVersion: v2\nname: files\nversion: 1.0.0\n",
		"values.yaml":      "only: \"*\"\n",
		"conf/a.ini":       "[a]\nkey = value\n",
		"conf/b.ini":       "[b]\nkey = \"ä\\n\"\n",
		"conf/deep/c.json": `{"c": [1, 2, {"d": null}]}`,
		".helmignore":      "*.bak\n",
		"conf/x.bak":       "never\n",
		"templates/a.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data:
{{ (.Files.Glob (printf "conf/%s.ini" .Values.only)).AsConfig | indent 2 }}
  first: {{ .Files.Lines "conf/a.ini" | first | quote }}
  json: {{ .Files.Get "conf/deep/c.json" | fromJson | toYaml | quote }}
  ignored: {{ .Files.Get "conf/x.bak" | quote }}
---
apiVersion: v1
kind: Secret
metadata: {name: conf}
data:
{{ (.Files.Glob "conf/**").AsSecrets | indent 2 }}
`,
	}
}

func multi() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: multi\nversion: 1.0.0\n",
		"values.yaml": "more: false\n",
		"templates/a.yaml": `# a comment before everything
---
# a comment that is a document
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: one
data: {text: "--- is no separator here"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: block}
data:
  script: |
    #!/bin/sh
    cat <<END
    a: {{ .Release.Name }}
    END
  folded: >-
    one
    line
---
{{- if .Values.more }}
apiVersion: v1
kind: ConfigMapList
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: in-list}, data: {a: b}}
{{- end }}
`,
		"templates/z.yaml": "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: z}\nimagePullSecrets: [{name: pull}]\n",
		"templates/b.yml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yml}\n",
		"templates/c.json": "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"json\"}, \"data\": {\"a\": \"1\"}}",
	}
}

func numbers() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: numbers\nversion: 1.0.0\n",
		"values.yaml": "big: 9007199254740993\nint: 1000000\nratio: 1.50\noctal: 0755\nflag: true\nempty: \"\"\nnothing: null\nversion: 1.10\ntext: \"0123\"\n",
		"templates/a.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: numbers}
data:
  big: {{ .Values.big | quote }}
  bigInt: "{{ int64 .Values.big }}"
  int: "{{ .Values.int }}"
  math: "{{ add .Values.int 1 }} {{ div 7 2 }} {{ mulf .Values.ratio 2 }} {{ round 3.14159 2 }}"
  ratio: "{{ .Values.ratio }}"
  octal: "{{ .Values.octal }}"
  flag: "{{ .Values.flag }} {{ not .Values.flag }}"
  kind: "{{ kindOf .Values.int }} {{ kindOf .Values.flag }} {{ typeOf .Values.text }}"
  empty: "{{ .Values.empty | default "was empty" }} {{ .Values.nothing | default "was null" }}"
  version: "{{ .Values.version }}"
  text: {{ .Values.text | quote }}
  json: {{ toJson .Values | quote }}
  yaml: |
{{ toYaml .Values | indent 4 }}
`,
		"templates/service.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ printf \"n-%d\" (int .Values.int) }}, labels: {size: \"{{ .Values.int | int }}\"}}\n",
	}
}

func dashboards() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: dashboards\nversion: 1.0.0\n",
		"values.yaml": "title: Overview\nrules: [{alert: Down, expr: up == 0}]\n",
		"templates/dashboard.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: dashboard\n  labels: {grafana_dashboard: \"1\"}\ndata:\n" +
			"  dashboard.json: |-\n    {{- dict \"title\" .Values.title \"panels\" (list (dict \"legend\" \"{{ instance }}\")) | toPrettyJson | nindent 4 }}\n" +
			"  legend: '{{ \"{{\" }} .Labels.instance {{ \"}}\" }}'\n  raw: {{ `{{ $value | humanize }}` | quote }}\n" +
			"  rules.yaml: |\n    groups:\n    {{- range .Values.rules }}\n    - name: {{ .alert | lower | snakecase }}\n      rules: [{{ toJson . }}]\n    {{- end }}\n" +
			"  toml: |\n    {{- toToml (dict \"a\" (dict \"b\" \"c\")) | nindent 4 }}\n  digest: {{ .Values.title | sha1sum | trunc 8 | quote }}\n  regex: {{ regexReplaceAll \"[^a-z]+\" (lower .Values.title) \"-\" | trimAll \"-\" | quote }}\n",
	}
}
