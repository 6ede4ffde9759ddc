package objects

import (
	"context"
	"errors"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ErrVariables says that variables cannot be read as the spec says, which its
// author can help.
var ErrVariables = errors.New("post build failed")

// Variables returns the data of the ConfigMaps and Secrets that a Kustomization's
// variables come from, in the order of the spec, inline ones last.
func (r Reader) Variables(ctx context.Context, ks *kustomizev1.Kustomization) ([]map[string]string, error) {
	post := ks.Spec.PostBuild
	if post == nil {
		return nil, nil
	}
	var out []map[string]string
	for _, ref := range post.SubstituteFrom {
		data, err := r.data(ctx, ref.Kind, client.ObjectKey{Namespace: ks.Namespace, Name: ref.Name})
		switch {
		case apierrors.IsNotFound(err) && ref.Optional:
			continue
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err), errors.Is(err, ErrVariables):
			return nil, fmt.Errorf("%w: substitute from '%s/%s' error: %w", ErrVariables, ref.Kind, ref.Name, err)
		case err != nil:
			return nil, fmt.Errorf("read %s %s/%s: %w", ref.Kind, ks.Namespace, ref.Name, err)
		}
		out = append(out, data)
	}
	return append(out, post.Substitute), nil
}

func (r Reader) data(ctx context.Context, kind string, key client.ObjectKey) (map[string]string, error) {
	switch kind {
	case "ConfigMap":
		var object corev1.ConfigMap
		if err := r.Live.Get(ctx, key, &object); err != nil {
			return nil, err
		}
		return object.Data, nil
	case "Secret":
		var object corev1.Secret
		if err := r.Live.Get(ctx, key, &object); err != nil {
			return nil, err
		}
		data := make(map[string]string, len(object.Data))
		for name, value := range object.Data {
			data[name] = string(value)
		}
		return data, nil
	}
	return nil, fmt.Errorf("%w: kind %q is neither ConfigMap nor Secret", ErrVariables, kind)
}
