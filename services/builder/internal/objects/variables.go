package objects

import (
	"context"
	"errors"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// ErrVariables says that variables cannot be read as the spec says, which its
// author can help.
var ErrVariables = errors.New("post build failed")

// Variables returns the data of the ConfigMaps and Secrets that a Kustomization's
// variables come from, in the order of the spec, inline ones last. Together they may have maxTexts bytes.
func (r Reader) Variables(ctx context.Context, ks *kustomizev1.Kustomization) ([]map[string]string, error) {
	post := ks.Spec.PostBuild
	if post == nil {
		return nil, nil
	}
	var out []map[string]string
	texts := r.texts(ks.Namespace)
	for _, ref := range post.SubstituteFrom {
		data, err := texts.read(ctx, ref.Kind, ref.Name)
		switch {
		case apierrors.IsNotFound(err) && ref.Optional:
			continue
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err), errors.Is(err, errUnusable):
			return nil, fmt.Errorf("%w: substitute from '%s/%s' error: %w", ErrVariables, ref.Kind, ref.Name, err)
		case err != nil:
			return nil, fmt.Errorf("read %s %s/%s: %w", ref.Kind, ks.Namespace, ref.Name, err)
		}
		out = append(out, data)
	}
	return append(out, post.Substitute), nil
}
