package objects

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"helm.sh/helm/v3/pkg/strvals"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
)

// ErrValues says that a release's values cannot be put together as the spec says, which its
// author can help.
var ErrValues = errors.New("could not resolve")

// ChartKinds lists the kinds whose artifact a HelmRelease can render.
func ChartKinds() []string {
	return []string{sourcev1.HelmChartKind, sourcev1.OCIRepositoryKind, sourcev1.ExternalArtifactKind}
}

// HelmRelease returns an object, or nil when it does not exist.
func (r Reader) HelmRelease(ctx context.Context, key events.Key, live bool) (*helmv2.HelmRelease, error) {
	reader := r.Cache
	if live {
		reader = r.Live
	}
	hr := &helmv2.HelmRelease{}
	err := reader.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, hr)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read HelmRelease %s/%s: %w", key.Namespace, key.Name, err)
	}
	return hr, nil
}

// ChartKey returns the key of the source of a HelmRelease's chart.
func ChartKey(hr *helmv2.HelmRelease) events.Key {
	kind, name := kube.ChartSource(hr)
	return events.NewKey(kind, name.Namespace, name.Name)
}

// Chart reads the source of a HelmRelease's chart.
func (r Reader) Chart(ctx context.Context, hr *helmv2.HelmRelease, live bool) (Source, error) {
	kind, _ := kube.ChartSource(hr)
	return r.source(ctx, Source{Key: ChartKey(hr), Kind: kind}, live)
}

// Values puts together the values that a HelmRelease sets: valuesFrom in their order, the
// inline ones last. A reference with a targetPath sets one value, as helm --set does, onto
// what is there with the inline values merged in (helm-controller's order).
func (r Reader) Values(ctx context.Context, hr *helmv2.HelmRelease) (map[string]any, error) {
	inline := map[string]any{}
	if hr.Spec.Values != nil {
		if err := yaml.Unmarshal(hr.Spec.Values.Raw, &inline); err != nil {
			return nil, fmt.Errorf("%w spec.values: %w", ErrValues, err)
		}
	}
	values := map[string]any{}
	for _, ref := range hr.Spec.ValuesFrom {
		body, ok, err := r.value(ctx, hr.Namespace, ref)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if ref.TargetPath == "" {
			var more map[string]any
			if err := yaml.Unmarshal([]byte(body), &more); err != nil {
				return nil, unresolved(hr.Namespace, ref, errors.New("it is no YAML map"))
			}
			values = mergeValues(values, more)
			continue
		}
		values = mergeValues(values, inline)
		if err := setValue(values, ref, body); err != nil {
			return nil, unresolved(hr.Namespace, ref, fmt.Errorf("it cannot be set at %s", ref.TargetPath))
		}
	}
	return mergeValues(values, inline), nil
}

// value reads what a reference names; ok is false when it is optional and not there.
func (r Reader) value(ctx context.Context, namespace string, ref helmv2.ValuesReference) (body string, ok bool, err error) {
	data, err := r.data(ctx, ref.Kind, client.ObjectKey{Namespace: namespace, Name: ref.Name})
	switch {
	case apierrors.IsNotFound(err) && ref.Optional:
		return "", false, nil
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err), errors.Is(err, ErrVariables):
		return "", false, unresolved(namespace, ref, err)
	case err != nil:
		return "", false, fmt.Errorf("read %s %s/%s: %w", ref.Kind, namespace, ref.Name, err)
	}
	body, ok = data[ref.GetValuesKey()]
	if !ok && !ref.Optional {
		return "", false, unresolved(namespace, ref, fmt.Errorf("missing key '%s'", ref.GetValuesKey()))
	}
	return body, ok, nil
}

func unresolved(namespace string, ref helmv2.ValuesReference, why error) error {
	return fmt.Errorf("%w %s chart values reference '%s/%s' with key '%s': %w", ErrValues, ref.Kind, namespace, ref.Name, ref.GetValuesKey(), why)
}

// setValue sets what a reference holds at its path: literally, as a text when it is in
// quotes, else as helm --set reads it.
func setValue(values map[string]any, ref helmv2.ValuesReference, body string) error {
	set := ref.TargetPath + "="
	switch {
	case ref.Literal:
		return strvals.ParseLiteralInto(set+body, values)
	case quoted(body, "'"):
		return strvals.ParseIntoString(set+strings.Trim(body, "'"), values)
	case quoted(body, `"`):
		return strvals.ParseIntoString(set+strings.Trim(body, `"`), values)
	}
	return strvals.ParseInto(set+body, values)
}

func quoted(s, by string) bool {
	return len(s) > 1 && strings.HasPrefix(s, by) && strings.HasSuffix(s, by)
}

// mergeValues returns a with b merged over it: maps key by key, all else replaced.
func mergeValues(a, b map[string]any) map[string]any {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]any{}
	}
	for key, value := range b {
		if more, ok := value.(map[string]any); ok {
			if have, ok := out[key].(map[string]any); ok {
				out[key] = mergeValues(have, more)
				continue
			}
		}
		out[key] = value
	}
	return out
}
