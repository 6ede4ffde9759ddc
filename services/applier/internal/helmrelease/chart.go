package helmrelease

import (
	"context"
	"fmt"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	fluxacl "github.com/fluxcd/pkg/apis/acl"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
)

// The labels that name the HelmRelease of an object.
const (
	originName      = "helm.toolkit.fluxcd.io/name"
	originNamespace = "helm.toolkit.fluxcd.io/namespace"
)

// chart keeps the HelmChart of spec.chart as the spec has it, and removes one that is not
// needed any more.
func (p *pass) chart(ctx context.Context) (*refusal, error) {
	_, name := kube.ChartSource(p.hr)
	if old := p.hr.Status.HelmChart; old != "" && (p.hr.Spec.Chart == nil || old != name.String()) {
		if err := p.deleteChart(ctx); err != nil {
			return nil, err
		}
	}
	if p.hr.Spec.Chart == nil {
		return nil, nil
	}
	if p.Options.NoCrossNamespaceRefs && name.Namespace != p.hr.Namespace {
		return &refusal{reason: fluxacl.AccessDeniedReason, stalled: true, warn: true, message: fmt.Sprintf(
			"can't access '%s/%s', cross-namespace references have been blocked", p.hr.Spec.Chart.Spec.SourceRef.Kind, name.Namespace)}, nil
	}
	wanted := chartOf(p.hr, name)
	live := &sourcev1.HelmChart{}
	if p.Watched(sourcev1.HelmChartKind) && p.Client.Get(ctx, name, live) == nil && same(live, wanted) {
		p.hr.Status.HelmChart = name.String()
		return nil, nil
	}
	live = &sourcev1.HelmChart{}
	err := p.Live.Get(ctx, name, live)
	switch {
	case meta.IsNoMatchError(err):
		return &refusal{reason: reasonArtifact, message: "HelmChart is not served: install the definitions of Sluice", retry: retryWait, warn: true}, nil
	case err != nil && !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("read HelmChart %s: %w", name, err)
	case err == nil && same(live, wanted):
		p.hr.Status.HelmChart = name.String()
		return nil, nil
	}
	verb := "Configured"
	if err != nil {
		verb = "Created"
	}
	//nolint:staticcheck // the typed apply configurations of this kind are not generated
	if err := p.Client.Patch(ctx, wanted, client.Apply, FieldOwner, client.ForceOwnership); err != nil {
		err = fmt.Errorf("apply HelmChart %s: %w", name, err)
		if hindered(ctx, err) { // as without its namespace
			return &refusal{reason: reasonArtifact, message: err.Error(), retry: retryWait, warn: true}, nil
		}
		return nil, err
	}
	p.tell(note{reason: "HelmChart" + verb, message: fmt.Sprintf("%s HelmChart/%s with SourceRef '%s/%s/%s'", verb, name,
		wanted.Spec.SourceRef.Kind, name.Namespace, wanted.Spec.SourceRef.Name)})
	p.hr.Status.HelmChart = name.String()
	return nil, nil
}

// chartOf is the HelmChart of a spec.
func chartOf(hr *helmv2.HelmRelease, name types.NamespacedName) *sourcev1.HelmChart {
	t := hr.Spec.Chart
	out := &sourcev1.HelmChart{
		TypeMeta:   metav1.TypeMeta{APIVersion: sourcev1.GroupVersion.String(), Kind: sourcev1.HelmChartKind},
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Labels: map[string]string{}, Annotations: map[string]string{}},
		Spec: sourcev1.HelmChartSpec{
			Chart: t.Spec.Chart, Version: t.Spec.Version,
			SourceRef:         sourcev1.LocalHelmChartSourceReference{APIVersion: t.Spec.SourceRef.APIVersion, Kind: t.Spec.SourceRef.Kind, Name: t.Spec.SourceRef.Name},
			Interval:          t.GetInterval(hr.Spec.Interval),
			ReconcileStrategy: t.Spec.ReconcileStrategy, ValuesFiles: t.Spec.ValuesFiles, IgnoreMissingValuesFiles: t.Spec.IgnoreMissingValuesFiles,
		},
	}
	if m := t.ObjectMeta; m != nil {
		for k, v := range m.Labels {
			out.Labels[k] = v
		}
		for k, v := range m.Annotations {
			out.Annotations[k] = v
		}
	}
	out.Labels[originName], out.Labels[originNamespace] = hr.Name, hr.Namespace
	if v := t.Spec.Verify; v != nil {
		out.Spec.Verify = &sourcev1.HelmChartVerification{Provider: v.Provider}
		if v.SecretRef != nil {
			out.Spec.Verify.SecretRef = &fluxmeta.LocalObjectReference{Name: v.SecretRef.Name}
		}
	}
	return out
}

// same says whether a live HelmChart is as it is wanted; what the API server defaults and
// others add does not count.
func same(live, wanted *sourcev1.HelmChart) bool {
	spec := wanted.Spec
	if spec.ReconcileStrategy == "" {
		spec.ReconcileStrategy = live.Spec.ReconcileStrategy
	}
	if spec.Version == "" {
		spec.Version = live.Spec.Version
	}
	spec.Suspend = live.Spec.Suspend
	return equality.Semantic.DeepEqual(spec, live.Spec) && has(live.Labels, wanted.Labels) && has(live.Annotations, wanted.Annotations)
}

func has(live, wanted map[string]string) bool {
	for k, v := range wanted {
		if live[k] != v {
			return false
		}
	}
	return true
}

// deleteChart deletes the HelmChart that the status names, if it is this object's.
func (p *pass) deleteChart(ctx context.Context) error {
	namespace, name := p.hr.Status.GetHelmChart()
	live := &sourcev1.HelmChart{}
	err := p.Live.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, live)
	if err == nil && live.Labels[originName] == p.hr.Name && live.Labels[originNamespace] == p.hr.Namespace {
		err = p.Client.Delete(ctx, live)
	}
	if client.IgnoreNotFound(err) != nil && !meta.IsNoMatchError(err) {
		return fmt.Errorf("delete HelmChart %s: %w", p.hr.Status.HelmChart, err)
	}
	if err == nil {
		p.tell(note{reason: "HelmChartDeleted", message: "deleted HelmChart '" + p.hr.Status.HelmChart + "'"})
	}
	p.hr.Status.HelmChart = ""
	return nil
}

// source reads the chart's source and its artifact, from the watch when there is one and live is false.
func (p *pass) source(ctx context.Context, kind string, name types.NamespacedName, live bool) (desired.Source, *refusal, error) {
	object, ok := kube.NewSource(kind).(chartSource)
	if !ok {
		return desired.Source{}, &refusal{reason: reasonArtifact, stalled: true, warn: true, message: fmt.Sprintf("charts of kind %s are not supported", kind)}, nil
	}
	var reader client.Reader = p.Client
	if live || !p.Watched(kind) {
		reader = p.Live
	}
	err := reader.Get(ctx, name, object)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return desired.Source{}, &refusal{reason: reasonArtifact, message: fmt.Sprintf("could not get Source object: %s", err), retry: retryWait, warn: true}, nil
	case err != nil:
		return desired.Source{}, nil, fmt.Errorf("read %s %s: %w", kind, name, err)
	}
	notReady := func(why string) (desired.Source, *refusal, error) {
		return desired.Source{}, &refusal{reason: reasonSource, message: fmt.Sprintf("%s '%s' is not ready: %s", kind, name, why), retry: retryWait}, nil
	}
	conditions := object.GetConditions()
	if ready := meta.FindStatusCondition(conditions, kube.ConditionReady); ready != nil && ready.ObservedGeneration != object.GetGeneration() {
		return notReady("latest generation of object has not been reconciled")
	}
	if stalled := meta.FindStatusCondition(conditions, kube.ConditionStalled); stalled != nil && stalled.Status == metav1.ConditionTrue {
		return notReady(stalled.Message)
	}
	artifact := object.GetArtifact()
	if artifact == nil {
		return notReady("does not have an artifact")
	}
	return desired.Source{Revision: artifact.Revision, Digest: artifact.Digest}, nil, nil
}

type chartSource interface {
	kube.Source
	GetConditions() []metav1.Condition
}
