package helm

import "fmt"

// webChart is a chart with what most charts have: defaults, a helper, a workload and notes.
func webChart() map[string]string {
	return map[string]string{
		"web/Chart.yaml":  "apiVersion: v2\nname: web\nversion: 0.1.0\nappVersion: 1.2.3\n",
		"web/values.yaml": "message: default\nreplicas: 1\nextra: false\n",
		"web/templates/_helpers.tpl": `{{- define "web.labels" -}}
app: {{ .Release.Name }}
{{- end }}`,
		"web/templates/config.yaml": `apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  labels: {{- include "web.labels" . | nindent 4 }}
data:
  message: {{ .Values.message | quote }}
  revision: "{{ .Release.Revision }}"
  upgrade: "{{ .Release.IsUpgrade }}"
  jobs: "{{ .Capabilities.APIVersions.Has "batch/v1/Job" }}"
`,
		"web/templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec: {containers: [{name: web, image: example.com/web:{{ .Chart.AppVersion }}}]}
`,
		"web/templates/extra.yaml": `{{- if .Values.extra }}
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-extra}
data: {a: b}
{{- end }}
`,
		"web/templates/NOTES.txt": "{{ .Release.Name }} says {{ .Values.message }}\n",
	}
}

// moodyChart becomes ready, and passes its test, or does not, as its values say. It has hooks of
// each kind that an install and an upgrade run.
func moodyChart() map[string]string {
	files := map[string]string{
		"moody/Chart.yaml":              "apiVersion: v2\nname: moody\nversion: 1.0.0\n",
		"moody/values.yaml":             "stuck: false\nfailTest: false\nvalue: a\n",
		"moody/templates/config.yaml":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {value: {{ .Values.value }}}\n",
		"moody/templates/workload.yaml": workload(`"example.com/web:{{ .Values.value }}"`),
		"moody/templates/test.yaml": `{{- if .Values.failTest }}
` + hook("{{ .Release.Name }}-test", "test", "0", "before-hook-creation", "activeDeadlineSeconds: 1, template: {spec: "+nowhere+"}") + `{{- else }}
` + hook("{{ .Release.Name }}-test", "test", "0", "before-hook-creation", completing) + `{{- end }}
`,
	}
	files["moody/templates/pre.yaml"] = hook("{{ .Release.Name }}-pre", "pre-install,pre-upgrade", "-5", "before-hook-creation", completing)
	files["moody/templates/post.yaml"] = hook("{{ .Release.Name }}-post", "post-install,post-upgrade", "5", "hook-succeeded", completing)
	return files
}

// chainChart has hooks one after another, and waits for ever when its values say so.
func chainChart() map[string]string {
	files := map[string]string{
		"chain/Chart.yaml":              "apiVersion: v2\nname: chain\nversion: 1.0.0\n",
		"chain/values.yaml":             "stuck: false\nstuckHook: false\n",
		"chain/templates/workload.yaml": workload("example.com/web"),
		"chain/templates/stuck.yaml": "{{- if .Values.stuckHook }}\n" + hook("{{ .Release.Name }}-stuck", "pre-install", "9", "before-hook-creation",
			"template: {spec: "+nowhere+"}") + "{{- end }}\n",
	}
	for _, event := range []string{"pre-install", "post-install"} {
		for weight := range 2 {
			files[fmt.Sprintf("chain/templates/%s-%d.yaml", event, weight)] = hook(
				fmt.Sprintf("{{ .Release.Name }}-%s-%d", event, weight), event, fmt.Sprint(weight), "hook-succeeded", completing)
		}
	}
	return files
}

// workload is the template of a Deployment that becomes ready unless the values say that it is stuck.
func workload(image string) string {
	return `apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      {{- if .Values.stuck }}
      nodeSelector: {kubernetes.io/hostname: nowhere}
      {{- end }}
      containers: [{name: web, image: ` + image + `}]
`
}

// nowhere is the spec of a pod of a Job that no node takes.
const nowhere = `{nodeSelector: {kubernetes.io/hostname: nowhere}, restartPolicy: Never, containers: [{name: a, image: example.com/job}]}`

// completing is the spec of a Job that succeeds.
const completing = `backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: a, image: example.com/job}]}}`

func hook(name, events, weight, policy, spec string) string {
	return `apiVersion: batch/v1
kind: Job
metadata:
  name: ` + name + `
  annotations: {helm.sh/hook: "` + events + `", helm.sh/hook-weight: "` + weight + `", helm.sh/hook-delete-policy: "` + policy + `"}
spec: {` + spec + `}
`
}
