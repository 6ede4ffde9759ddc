package objects

import (
	"context"
	"errors"
	"fmt"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/builder/internal/helm"
)

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

// Values reads what the values that a HelmRelease sets are made of. ConfigMaps and Secrets may have maxTexts bytes together.
func (r Reader) Values(ctx context.Context, hr *helmv2.HelmRelease) (helm.Values, error) {
	out := helm.Values{}
	if hr.Spec.Values != nil {
		out.Inline = hr.Spec.Values.Raw
	}
	texts, at := r.texts(hr.Namespace), map[string]int{}
	for _, ref := range hr.Spec.ValuesFrom {
		body, ok, err := value(ctx, texts, ref)
		if err != nil {
			return helm.Values{}, err
		}
		if !ok {
			continue
		}
		name := ref.Kind + "/" + ref.Name + "/" + ref.GetValuesKey()
		if _, have := at[name]; !have {
			at[name] = len(out.Texts)
			out.Texts = append(out.Texts, []byte(body))
		}
		out.From = append(out.From, helm.ValuesFrom{ValuesReference: ref, Text: at[name]})
	}
	return out, nil
}

// value reads what a reference names; ok is false when it is optional and not there.
func value(ctx context.Context, texts *texts, ref helmv2.ValuesReference) (body string, ok bool, err error) {
	data, err := texts.read(ctx, ref.Kind, ref.Name)
	switch {
	case apierrors.IsNotFound(err) && ref.Optional:
		return "", false, nil
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err), errors.Is(err, errUnusable):
		return "", false, helm.Unresolved(texts.namespace, ref, err)
	case err != nil:
		return "", false, fmt.Errorf("read %s %s/%s: %w", ref.Kind, texts.namespace, ref.Name, err)
	}
	body, ok = data[ref.GetValuesKey()]
	if !ok && !ref.Optional {
		return "", false, helm.Unresolved(texts.namespace, ref, fmt.Errorf("missing key '%s'", ref.GetValuesKey()))
	}
	return body, ok, nil
}
