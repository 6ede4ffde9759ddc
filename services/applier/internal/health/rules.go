package health

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/services/applier/internal/cel"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/refusal"
)

// Rules are CEL expressions that stand in for the kstatus rules of some kinds. One
// without a kind is for all kinds of its group that have none of their own. The
// zero value has none.
type Rules map[schema.GroupKind]rule

type rule struct {
	current, inProgress, failed *cel.Expression // the latter two may be nil
}

// Compile reads the expressions of spec.healthCheckExprs. An error says which one
// is wrong; only a changed spec can help.
func Compile(compiler *cel.Compiler, checks []kustomize.CustomHealthCheck) (Rules, error) {
	if len(checks) == 0 {
		return nil, nil
	}
	rules := make(Rules, len(checks))
	for i, check := range checks {
		kind := schema.FromAPIVersionAndKind(check.APIVersion, check.Kind).GroupKind()
		if _, twice := rules[kind]; twice {
			return nil, fmt.Errorf("duplicate custom health check for GroupKind %s at healthchecks[%d]", kind, i)
		}
		r, err := compile(compiler, check.HealthCheckExpressions)
		if err != nil {
			return nil, fmt.Errorf("failed to create custom status evaluator for healthchecks[%d]: %w", i, err)
		}
		rules[kind] = r
	}
	return rules, nil
}

func compile(compiler *cel.Compiler, e kustomize.HealthCheckExpressions) (rule, error) {
	var r rule
	if e.Current == "" {
		return r, errors.New("expression Current not specified")
	}
	for _, part := range []struct {
		name, text string
		to         **cel.Expression
	}{{"Current", e.Current, &r.current}, {"Failed", e.Failed, &r.failed}, {"InProgress", e.InProgress, &r.inProgress}} {
		if part.text == "" {
			continue
		}
		compiled, err := compiler.Object(part.text)
		if err != nil {
			return r, fmt.Errorf("failed to parse the expression %s: %w", part.name, err)
		}
		*part.to = compiled
	}
	return r, nil
}

// Cover says whether an expression decides about a kind.
func (rules Rules) Cover(kind schema.GroupKind) bool {
	_, own := rules[kind]
	_, group := rules[schema.GroupKind{Group: kind.Group}]
	return own || group
}

// Evaluate returns the state of an object that was read. An expression that cannot
// be evaluated leaves the state Unknown: the object may yet get what it needs.
func (rules Rules) Evaluate(ctx context.Context, o *unstructured.Unstructured) (State, error) {
	r := cluster.RefOf(o)
	own, ok := rules[r.GroupKind()]
	if !ok {
		own, ok = rules[schema.GroupKind{Group: r.Group}]
	}
	if !ok || o.GetDeletionTimestamp() != nil {
		return evaluate(o)
	}
	s, err := own.evaluate(ctx, o)
	if ctx.Err() != nil {
		return State{}, fmt.Errorf("evaluate %s: %w", r, context.Cause(ctx))
	}
	if err != nil {
		return State{Object: r, Status: string(status.UnknownStatus), Error: refusal.Cut(err.Error(), maxMessage)}, nil
	}
	return State{Object: r, Status: string(s)}, nil
}

// evaluate keeps the order of Flux's RFC 0009.
func (r rule) evaluate(ctx context.Context, o *unstructured.Unstructured) (status.Status, error) {
	observed, ok, err := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	if err == nil && ok && observed != o.GetGeneration() {
		return status.InProgressStatus, nil
	}
	for _, step := range []struct {
		expression *cel.Expression
		means      status.Status
	}{{r.inProgress, status.InProgressStatus}, {r.failed, status.FailedStatus}, {r.current, status.CurrentStatus}} {
		if step.expression == nil {
			continue
		}
		yes, err := step.expression.Bool(ctx, o.Object)
		if err != nil {
			return "", err
		}
		if yes {
			return step.means, nil
		}
	}
	return status.InProgressStatus, nil
}
