package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/test/harness"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	helmtime "helm.sh/helm/v3/pkg/time"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

// copies is how often the larger chart has the five objects.
const copies = 4

// charts is the repository: a chart of the five objects that Kustomizations are measured with, one with
// twenty, and the HelmRelease of the latter. value is the default of the first chart.
func charts(version int, value, set string) map[string]string {
	files := map[string]string{"values/release.yaml": wideRelease(set)}
	for name, n := range map[string]int{"app": 1, "wide": copies} {
		files["charts/"+name+"/Chart.yaml"] = fmt.Sprintf("apiVersion: v2\nname: %s\nversion: 0.1.%d\nappVersion: 1.0.0\ndescription: A chart to measure with\n", name, version)
		files["charts/"+name+"/values.yaml"] = fmt.Sprintf("value: %q\nimage:\n  repository: example.org/app\n  tag: \"\"\nservice:\n  port: 80\nreplicas: 0\n", value)
		files["charts/"+name+"/templates/_helpers.tpl"] = helpers
		for i := range n {
			for kind, text := range templates {
				suffix := ""
				if n > 1 {
					suffix = fmt.Sprintf("-%d", i)
				}
				files[fmt.Sprintf("charts/%s/templates/%s%s.yaml", name, kind, suffix)] = strings.ReplaceAll(text, "SUFFIX", suffix)
			}
		}
	}
	return files
}

const helpers = `{{- define "app.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- define "app.selector" -}}
app: {{ include "app.name" . }}
{{- end }}
{{- define "app.labels" -}}
{{ include "app.selector" . }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Chart.AppVersion }}
app.kubernetes.io/version: {{ . | quote }}
{{- end }}
{{- end }}
`

// templates are the five objects as charts write them. All of them carry the value.
var templates = map[string]string{
	"serviceaccount": `apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "app.name" . }}SUFFIX
  labels: {{- include "app.labels" . | nindent 4 }}
`,
	"configmap": `apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "app.name" . }}SUFFIX
  labels: {{- include "app.labels" . | nindent 4 }}
data:
  value: {{ .Values.value | quote }}
  settings: |
    log: info
    cache: 64Mi
`,
	"service": `apiVersion: v1
kind: Service
metadata:
  name: {{ include "app.name" . }}SUFFIX
  labels: {{- include "app.labels" . | nindent 4 }}
  annotations: {example.org/value: {{ .Values.value | quote }}}
spec:
  selector: {{- include "app.selector" . | nindent 4 }}
  ports:
    - name: http
      port: {{ .Values.service.port }}
      targetPort: 8080
`,
	"deployment": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "app.name" . }}SUFFIX
  labels: {{- include "app.labels" . | nindent 4 }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {{- include "app.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "app.selector" . | nindent 8 }}
      annotations: {example.org/value: {{ .Values.value | quote }}}
    spec:
      serviceAccountName: {{ include "app.name" . }}SUFFIX
      containers:
        - name: app
          image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
          ports:
            - containerPort: 8080
          envFrom:
            - configMapRef:
                name: {{ include "app.name" . }}SUFFIX
`,
	"ingress": `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "app.name" . }}SUFFIX
  labels: {{- include "app.labels" . | nindent 4 }}
  annotations: {example.org/value: {{ .Values.value | quote }}}
spec:
  rules:
    - host: {{ include "app.name" . }}SUFFIX.example.org
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ include "app.name" . }}SUFFIX
                port:
                  name: http
`,
}

// wideRelease is the HelmRelease of the larger chart, with a value.
func wideRelease(value string) string {
	return fmt.Sprintf(`apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: wide
  namespace: %s
spec:
  interval: 30m
  targetNamespace: %s
  releaseName: wide
  chartRef: {kind: HelmChart, name: wide}
  values: {value: %s}
`, controlNamespace, sluiceNamespace, value)
}

// chartSources are the source, the Receiver and the charts.
func chartSources(repository string) string {
	var b strings.Builder
	b.WriteString(manifests(0, repository))
	for _, name := range []string{"app", "wide"} {
		fmt.Fprintf(&b, `---
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmChart
metadata: {name: %s}
spec:
  interval: 30m
  chart: ./charts/%s
  sourceRef: {kind: GitRepository, name: bench}
`, name, name)
	}
	return b.String()
}

// helmReleases are n releases of the first chart.
func helmReleases(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: %[1]s}
spec:
  interval: 30m
  targetNamespace: %[2]s
  releaseName: %[1]s
  chartRef: {kind: HelmChart, name: app}
`, appName(i), sluiceNamespace)
	}
	return b.String()
}

// wideKustomization brings the HelmRelease of the larger chart from Git.
const wideKustomization = `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: values}
spec:
  interval: 30m
  prune: true
  path: ./values
  sourceRef: {kind: GitRepository, name: bench}
`

// bareReleases are what the bare client writes for n releases of the first chart: their objects, and the
// Secrets that Helm itself would store, one each.
func bareReleases(ctx context.Context, n, revision int, value string) (objects, stored []*unstructured.Unstructured, err error) {
	var files []*loader.BufferedFile
	for name, body := range charts(revision, value, "") {
		if inside, ok := strings.CutPrefix(name, "charts/app/"); ok {
			files = append(files, &loader.BufferedFile{Name: inside, Data: []byte(body)})
		}
	}
	loaded, err := loader.LoadFiles(files)
	if err != nil {
		return nil, nil, fmt.Errorf("load the chart: %w", err)
	}
	secrets := fake.NewClientset().CoreV1().Secrets(bareNamespace)
	storage := driver.NewSecrets(secrets)
	for i := range n {
		made, err := bareRelease(loaded, appName(i), revision)
		if err != nil {
			return nil, nil, err
		}
		own, err := harness.Objects([]byte(made.Manifest))
		if err != nil {
			return nil, nil, err
		}
		for _, u := range own {
			u.SetNamespace(bareNamespace)
		}
		objects = append(objects, own...)
		if err := storage.Create(fmt.Sprintf("sh.helm.release.v1.%s.v%d", made.Name, revision), made); err != nil {
			return nil, nil, fmt.Errorf("store release %s: %w", made.Name, err)
		}
	}
	list, err := secrets.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, err
	}
	for i := range list.Items {
		secret := &list.Items[i]
		secret.APIVersion, secret.Kind = "v1", "Secret"
		secret.ObjectMeta = metav1.ObjectMeta{Name: secret.Name, Namespace: secret.Namespace, Labels: secret.Labels}
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(secret)
		if err != nil {
			return nil, nil, err
		}
		stored = append(stored, &unstructured.Unstructured{Object: object})
	}
	return objects, stored, nil
}

// bareRelease renders a chart as Helm does.
func bareRelease(c *chart.Chart, name string, revision int) (*release.Release, error) {
	values, err := chartutil.ToRenderValues(c, nil, chartutil.ReleaseOptions{
		Name: name, Namespace: bareNamespace, Revision: revision, IsInstall: revision == 1, IsUpgrade: revision > 1,
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	files, err := engine.Render(c, values)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	var manifest strings.Builder
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(file, ".yaml") {
			fmt.Fprintf(&manifest, "---\n# Source: %s\n%s", file, files[file])
		}
	}
	now := helmtime.Now()
	return &release.Release{
		Name: name, Namespace: bareNamespace, Version: revision, Chart: c, Manifest: manifest.String(),
		Info: &release.Info{FirstDeployed: now, LastDeployed: now, Status: release.StatusDeployed, Description: "Complete"},
	}, nil
}

// createHelm creates sources and releases, in parallel.
func (w *world) createHelm(ctx context.Context, manifest string) error {
	objects, err := harness.Objects([]byte(manifest))
	if err != nil {
		return err
	}
	for _, u := range objects {
		u.SetNamespace(controlNamespace)
	}
	_, err = w.bare.apply(ctx, objects)
	return err
}
