package engine

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const rbac = "rbac.authorization.k8s.io"

var (
	customResourceDefinition = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
	namespace                = schema.GroupKind{Kind: "Namespace"}
	clusterRole              = schema.GroupKind{Group: rbac, Kind: "ClusterRole"}
)

// stages is how many stages there are; all but the last are waited for.
const stages = 4

// stageOf returns the stage of a kind: definitions first, then classes, then the
// kinds that were asked for, then the rest.
func (e *Engine) stageOf(gk schema.GroupKind) int {
	switch {
	case gk == customResourceDefinition, gk == namespace, gk == clusterRole:
		return 0
	case strings.HasSuffix(gk.Kind, "Class"):
		return 1
	case slices.Contains(e.opts.StageKinds, gk):
		return 2
	}
	return stages - 1
}

// kindOrder is the order in which kinds are started inside a stage; kinds that are
// not listed come where the empty string stands. Deletion goes the other way.
var kindOrder = []string{
	"CustomResourceDefinition", "Namespace", "ClusterRole",
	"ClusterClass", "RuntimeClass", "PriorityClass", "StorageClass", "VolumeSnapshotClass", "IngressClass", "GatewayClass",
	"ClusterRoleBinding", "ResourceQuota", "ServiceAccount", "Role", "RoleBinding", "ConfigMap", "Secret", "Service",
	"LimitRange", "Deployment", "StatefulSet", "CronJob", "PodDisruptionBudget",
	"",
	"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
}

func rank(kind string) int {
	if i := slices.Index(kindOrder, kind); i >= 0 {
		return i
	}
	return slices.Index(kindOrder, "")
}

// split returns the items of each stage in kind order.
func (e *Engine) split(items []*item) [stages][]*item {
	var out [stages][]*item
	for _, i := range items {
		s := e.stageOf(i.ref.GroupKind())
		out[s] = append(out[s], i)
	}
	for _, stage := range out {
		slices.SortStableFunc(stage, func(a, b *item) int { return rank(a.ref.Kind) - rank(b.ref.Kind) })
	}
	return out
}

// needsAddress reports whether creating the object makes the API server allocate a
// cluster IP.
func needsAddress(o *unstructured.Unstructured) bool {
	if o.GetAPIVersion() != "v1" || o.GetKind() != "Service" {
		return false
	}
	kind, _, _ := unstructured.NestedString(o.Object, "spec", "type")
	ip, _, _ := unstructured.NestedString(o.Object, "spec", "clusterIP")
	return kind != "ExternalName" && ip != "None"
}
