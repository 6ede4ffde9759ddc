package harness

import "k8s.io/apimachinery/pkg/runtime/schema"

// Kinds that are driven and looked at from outside.
var (
	GitRepositoryKind = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "GitRepository"}
	KustomizationKind = schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}
	ReceiverKind      = schema.GroupVersionKind{Group: "notification.toolkit.fluxcd.io", Version: "v1", Kind: "Receiver"}
	ConfigMapKind     = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	DeploymentKind    = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	PodKind           = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	EventKind         = schema.GroupVersionKind{Version: "v1", Kind: "Event"}
)
