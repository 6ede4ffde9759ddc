package kustomize

import (
	"maps"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/sluice-gitops/sluice/internal/render"
)

// Decorate adds the spec's common metadata to every object; it wins over what
// the object has.
func Decorate(objects []render.Object, metadata *kustomizev1.CommonMetadata) {
	if metadata == nil {
		return
	}
	for _, o := range objects {
		if len(metadata.Labels) > 0 {
			o.SetLabels(merged(o.GetLabels(), metadata.Labels))
		}
		if len(metadata.Annotations) > 0 {
			o.SetAnnotations(merged(o.GetAnnotations(), metadata.Annotations))
		}
	}
}

func merged(have, more map[string]string) map[string]string {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, more)
	return out
}
