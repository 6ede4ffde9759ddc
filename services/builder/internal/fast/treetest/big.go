// Package treetest makes trees of kustomizations for tests.
package treetest

import (
	"fmt"
	"strings"
)

// Files are contents by path.
type Files map[string]string

// Big is a repository of an overlay on a base with as many objects, a multiple of
// five: per app a ServiceAccount, a ConfigMap, a Service, a Deployment and an Ingress
// in one file. The overlay in folder "app" sets namespace, labels and annotations.
func Big(objects int) Files {
	files := Files{
		"app/kustomization.yaml": "namespace: prod\nresources: [../base]\ncommonLabels: {team: a}\ncommonAnnotations: {note: b}\n",
	}
	var names []string
	for i := range objects / 5 {
		name := fmt.Sprintf("app-%d", i)
		names = append(names, name+".yaml")
		files["base/"+name+".yaml"] = strings.ReplaceAll(app, "NAME", name)
	}
	files["base/kustomization.yaml"] = "resources: [" + strings.Join(names, ", ") + "]\n"
	return files
}

const app = `apiVersion: v1
kind: ServiceAccount
metadata:
  name: NAME
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: NAME
data:
  # how much it says
  log.level: info
  replicas: "3"
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
      - name: main
        image: registry.example.com/app:1.2.3
        envFrom:
        - configMapRef:
            name: NAME
        ports:
        - containerPort: 8080
        resources:
          requests: {cpu: 100m, memory: 64Mi}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: NAME
spec:
  rules:
  - host: NAME.example.com
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: NAME
            port:
              number: 80
`
