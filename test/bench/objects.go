package main

import (
	"fmt"
	"strings"

	"github.com/sluice-gitops/sluice/test/harness"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	controlNamespace = "sluice-bench-control"
	sluiceNamespace  = "sluice-bench"
	bareNamespace    = "sluice-bench-bare"
)

// app is the five objects of one application, as text; value is what a commit changes.
func app(i int, value string) string { return filled(appTemplate, i, value) }

// changing is the one of them that a commit changes.
func changing(i int, value string) string { return filled(configMapTemplate, i, value) }

func filled(template string, i int, value string) string {
	return strings.NewReplacer("NAME", appName(i), "VALUE", value).Replace(template)
}

func appName(i int) string { return fmt.Sprintf("app-%04d", i) }

const configMapTemplate = `apiVersion: v1
kind: ConfigMap
metadata:
  name: NAME
data:
  value: "VALUE"
  settings: |
    log: info
    cache: 64Mi
`

const appTemplate = configMapTemplate + `---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: NAME
---
apiVersion: v1
kind: Service
metadata:
  name: NAME
spec:
  selector:
    app: NAME
  ports:
    - name: http
      port: 80
      targetPort: 8080
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: NAME
spec:
  replicas: 0
  selector:
    matchLabels:
      app: NAME
  template:
    metadata:
      labels:
        app: NAME
    spec:
      serviceAccountName: NAME
      containers:
        - name: app
          image: example.org/app:1.0.0
          ports:
            - containerPort: 8080
          envFrom:
            - configMapRef:
                name: NAME
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: NAME
spec:
  rules:
    - host: NAME.example.org
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: NAME
                port:
                  name: http
`

// tree is the repository: one folder an application.
func tree(n int, value string) map[string]string { return treeOf(app, n, value) }

func treeOf(manifest func(i int, value string) string, n int, value string) map[string]string {
	files := make(map[string]string, n)
	for i := range n {
		files["apps/"+appName(i)+"/app.yaml"] = manifest(i, value)
	}
	return files
}

// bareObjects is what the bare client applies: the same objects in a namespace of its own.
func bareObjects(n int, value string) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	for i := range n {
		objects, err := harness.Objects([]byte(app(i, value)))
		if err != nil {
			return nil, err
		}
		for _, u := range objects {
			u.SetNamespace(bareNamespace)
			all = append(all, u)
		}
	}
	return all, nil
}

// changed returns the objects that a commit changes: the ConfigMap of each application.
func changed(n int, value string) ([]*unstructured.Unstructured, error) {
	all, err := bareObjects(n, value)
	if err != nil {
		return nil, err
	}
	var maps []*unstructured.Unstructured
	for _, u := range all {
		if u.GetKind() == "ConfigMap" {
			maps = append(maps, u)
		}
	}
	return maps, nil
}

// manifests is what makes Sluice manage the tree.
func manifests(n int, repository string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata:
  name: bench
spec:
  interval: 30m
  url: %s
  ref:
    branch: %s
---
apiVersion: notification.toolkit.fluxcd.io/v1
kind: Receiver
metadata:
  name: bench
spec:
  type: github
  events: [push]
  secretRef:
    name: bench-webhook
  resources:
    - apiVersion: source.toolkit.fluxcd.io/v1
      kind: GitRepository
      name: bench
`, repository, harness.Branch)
	for i := range n {
		fmt.Fprintf(&b, `---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: %s
spec:
  interval: 30m
  prune: true
  path: ./apps/%s
  targetNamespace: %s
  sourceRef:
    kind: GitRepository
    name: bench
`, appName(i), appName(i), sluiceNamespace)
	}
	return b.String()
}
