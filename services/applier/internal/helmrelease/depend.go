package helmrelease

import (
	"context"
	"fmt"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/kube"
)

// dependencies finds the first that is not ready.
func (p *pass) dependencies(ctx context.Context) (*refusal, error) {
	for i, name := range kube.ReleaseDependencies(p.hr) {
		missing, err := p.dependency(ctx, name, p.hr.Spec.DependsOn[i].ReadyExpr)
		if missing != nil || err != nil {
			return missing, err
		}
	}
	return nil, nil
}

func (p *pass) dependency(ctx context.Context, name types.NamespacedName, expression string) (*refusal, error) {
	wait := func(format string, args ...any) *refusal {
		return &refusal{reason: reasonDependency, message: fmt.Sprintf(format, args...), retry: retryWait}
	}
	dep := &helmv2.HelmRelease{}
	err := p.Live.Get(ctx, name, dep)
	if apierrors.IsNotFound(err) {
		return wait("dependency '%s' not found: %s", name, err), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read dependency %s: %w", name, err)
	}
	if expression != "" {
		if missing, err := p.readyExpr(ctx, name, dep, expression, wait); missing != nil || err != nil || !p.Options.AdditiveDependencyCheck {
			return missing, err
		}
	}
	if dep.Status.ObservedGeneration != dep.Generation || !meta.IsStatusConditionTrue(dep.Status.Conditions, kube.ConditionReady) {
		return wait("dependency '%s' is not ready", name), nil
	}
	return nil, nil
}

func (p *pass) readyExpr(ctx context.Context, name types.NamespacedName, dep *helmv2.HelmRelease, text string, wait func(string, ...any) *refusal) (*refusal, error) {
	expression, err := p.CEL.Dependency(text)
	if err != nil {
		return &refusal{reason: reasonExpression, stalled: true, warn: true, message: fmt.Sprintf("invalid readyExpr of dependency '%s': %s", name, err)}, nil
	}
	variables := map[string]any{}
	for key, o := range map[string]*helmv2.HelmRelease{"self": p.hr, "dep": dep} {
		typed := *o
		typed.SetGroupVersionKind(helmv2.GroupVersion.WithKind(helmv2.HelmReleaseKind))
		if variables[key], err = runtime.DefaultUnstructuredConverter.ToUnstructured(&typed); err != nil {
			return nil, fmt.Errorf("read HelmRelease %s: %w", name, err)
		}
	}
	ready, err := expression.Bool(ctx, variables)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return wait("dependency '%s': %s", name, err), nil
	case !ready:
		return wait("dependency '%s' is not ready according to readyExpr eval", name), nil
	}
	return nil, nil
}
