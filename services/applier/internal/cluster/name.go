package cluster

import (
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validate/content"
)

// impossible says why no object can have the name or the namespace of a reference: with one it would lead to another place of
// the API, or to all objects of its kind. It is empty when one can.
func impossible(r Ref) string {
	if r.Name == "" {
		return "name is required"
	}
	return outside(r)
}

// outside says which part of a reference is no part of a path.
func outside(r Ref) string {
	if wrong := content.IsPathSegmentName(r.Name); len(wrong) > 0 {
		return "name " + strings.Join(wrong, ", ")
	}
	if wrong := content.IsPathSegmentName(r.Namespace); len(wrong) > 0 {
		return "namespace " + strings.Join(wrong, ", ")
	}
	return ""
}

// absent is the error of asking for something that cannot be there.
func absent(m *meta.RESTMapping, r Ref) error {
	return apierrors.NewNotFound(m.Resource.GroupResource(), r.Name)
}

// misnamed is the error of an object that the API server has no place for.
func misnamed(r Ref) error {
	if why := impossible(r); why != "" {
		return apierrors.NewBadRequest("metadata: " + why)
	}
	return nil
}
