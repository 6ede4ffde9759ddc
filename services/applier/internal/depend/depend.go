// Package depend decides whether what a Kustomization depends on is ready.
package depend

import (
	"context"
	"errors"
	"fmt"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/cel"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// Verdict is what was found; its zero value is "ready".
type Verdict struct {
	// Message says what is missing, empty when everything is ready.
	Message string
	// Cycle is true when the objects wait for each other: no wait can help.
	Cycle bool
	// Behind is true when all that is missing is that a dependency reaches the
	// revision of the shared source, which it is expected to do by itself.
	Behind bool
}

// Ready says whether nothing is missing.
func (v Verdict) Ready() bool { return v.Message == "" }

// ErrInvalid says that a readyExpr cannot be compiled: only a changed spec can help.
var ErrInvalid = errors.New("invalid readyExpr")

// Checker reads dependencies from the watch's cache, and from the API server
// when told that the cache may be behind.
type Checker struct {
	Cache, Live client.Reader
	// CEL compiles readyExpr.
	CEL *cel.Compiler
	// Additive asks for the built-in check beside a readyExpr, which otherwise
	// replaces it.
	Additive bool
}

// Check looks at the dependencies of ks in their order and returns the first that
// is not ready. revision is that of the source's artifact: a dependency on the
// same source must have applied it, so that a chain sees one revision.
func (c Checker) Check(ctx context.Context, ks *kustomizev1.Kustomization, revision string, confirm bool) (Verdict, error) {
	if path, err := c.cycle(ctx, ks); err != nil || path != "" {
		return Verdict{Message: "dependencies form a cycle: " + path, Cycle: true}, err
	}
	for _, on := range ks.Spec.DependsOn {
		v, err := c.one(ctx, c.Cache, ks, on, revision)
		if err == nil && !v.Ready() && confirm {
			v, err = c.one(ctx, c.Live, ks, on, revision)
		}
		if err != nil || !v.Ready() {
			return v, err
		}
	}
	return Verdict{}, nil
}

// Names returns the names of what ks depends on, in its namespace by default.
func Names(ks *kustomizev1.Kustomization) []types.NamespacedName {
	var names []types.NamespacedName
	for _, d := range ks.Spec.DependsOn {
		names = append(names, nameOf(ks, d))
	}
	return names
}

func nameOf(ks *kustomizev1.Kustomization, d kustomizev1.DependencyReference) types.NamespacedName {
	return types.NamespacedName{Namespace: or(d.Namespace, ks.Namespace), Name: d.Name}
}

// Expressive says whether ks asks for more of a dependency than its outcome, so
// that any change of either may matter; an empty name asks about all.
func Expressive(ks *kustomizev1.Kustomization, dependency types.NamespacedName) bool {
	for _, d := range ks.Spec.DependsOn {
		if d.ReadyExpr != "" && (dependency.Name == "" || nameOf(ks, d) == dependency) {
			return true
		}
	}
	return false
}

func (c Checker) one(ctx context.Context, r client.Reader, ks *kustomizev1.Kustomization, on kustomizev1.DependencyReference, revision string) (Verdict, error) {
	name, dep := nameOf(ks, on), &kustomizev1.Kustomization{}
	err := r.Get(ctx, name, dep)
	if apierrors.IsNotFound(err) {
		return Verdict{Message: fmt.Sprintf("dependency '%s' not found: %s", name, err)}, nil
	}
	if err != nil {
		return Verdict{}, fmt.Errorf("read dependency %s: %w", name, err)
	}
	if on.ReadyExpr != "" {
		v, err := c.evaluate(ctx, ks, dep, on.ReadyExpr)
		if err != nil || !v.Ready() || !c.Additive {
			return v, err
		}
	}
	current := dep.Status.LastAppliedRevision == revision || !sameSource(ks, dep)
	switch {
	case !status.Ready(dep):
		return Verdict{Message: fmt.Sprintf("dependency '%s' is not ready", name), Behind: !current && moving(dep)}, nil
	case !current:
		return Verdict{Message: fmt.Sprintf("dependency '%s' revision is not up to date", name), Behind: true}, nil
	}
	return Verdict{}, nil
}

// evaluate asks an expression about a dependency. One that fails on the data it
// finds may succeed on other data.
func (c Checker) evaluate(ctx context.Context, ks, dep *kustomizev1.Kustomization, text string) (Verdict, error) {
	expression, err := c.CEL.Dependency(text)
	if err != nil {
		return Verdict{}, fmt.Errorf("%w of dependency '%s': %w", ErrInvalid, client.ObjectKeyFromObject(dep), err)
	}
	variables := map[string]any{}
	for name, o := range map[string]*kustomizev1.Kustomization{"self": ks, "dep": dep} {
		if variables[name], err = fields(o); err != nil {
			return Verdict{}, err
		}
	}
	ready, err := expression.Bool(ctx, variables)
	switch {
	case ctx.Err() != nil:
		return Verdict{}, fmt.Errorf("evaluate readyExpr: %w", context.Cause(ctx))
	case err != nil:
		return Verdict{Message: fmt.Sprintf("dependency '%s': %s", client.ObjectKeyFromObject(dep), err)}, nil
	case !ready:
		return Verdict{Message: fmt.Sprintf("dependency '%s' is not ready according to readyExpr eval", client.ObjectKeyFromObject(dep))}, nil
	}
	return Verdict{}, nil
}

// fields returns an object as an expression sees it. The cache has no types.
func fields(ks *kustomizev1.Kustomization) (map[string]any, error) {
	typed := *ks
	typed.SetGroupVersionKind(kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind))
	out, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&typed)
	if err != nil {
		return nil, fmt.Errorf("read Kustomization %s: %w", client.ObjectKeyFromObject(ks), err)
	}
	return out, nil
}

// moving says whether a dependency is at work, not failed.
func moving(dep *kustomizev1.Kustomization) bool {
	return dep.Status.ObservedGeneration == dep.Generation && !status.Failed(dep)
}

func sameSource(a, b *kustomizev1.Kustomization) bool {
	kindA, nameA := kube.SourceOf(a)
	kindB, nameB := kube.SourceOf(b)
	return kindA == kindB && nameA == nameB
}

// cycle returns a path of dependencies that leads from ks back to it, and reads each object on the way once. A dependency with an
// expression in place of the built-in check is no part of a cycle: it may be met before the dependency is ready.
func (c Checker) cycle(ctx context.Context, ks *kustomizev1.Kustomization) (string, error) {
	self := client.ObjectKeyFromObject(ks)
	seen := map[types.NamespacedName]bool{}
	path := []string{self.String()} // to where the walk is
	var walk func(at *kustomizev1.Kustomization) (bool, error)
	walk = func(at *kustomizev1.Kustomization) (bool, error) {
		for _, on := range at.Spec.DependsOn {
			name := nameOf(at, on)
			if seen[name] || on.ReadyExpr != "" && !c.Additive {
				continue
			}
			path = append(path, name.String())
			if name == self {
				return true, nil
			}
			seen[name] = true
			if found, err := c.follow(ctx, name, walk); err != nil || found {
				return found, err
			}
			path = path[:len(path)-1]
		}
		return false, nil
	}
	found, err := walk(ks)
	if err != nil || !found {
		return "", err
	}
	return strings.Join(path, " → "), nil
}

// follow goes on with a dependency, if there is one of that name.
func (c Checker) follow(ctx context.Context, name types.NamespacedName, walk func(*kustomizev1.Kustomization) (bool, error)) (bool, error) {
	if ctx.Err() != nil {
		return false, fmt.Errorf("read dependency %s: %w", name, context.Cause(ctx))
	}
	next := &kustomizev1.Kustomization{}
	err := c.Cache.Get(ctx, name, next)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read dependency %s: %w", name, err)
	}
	return walk(next)
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
