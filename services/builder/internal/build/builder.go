package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/services/builder/internal/kustomize"
	"github.com/sluice-gitops/sluice/services/builder/internal/sandbox"
)

// runner answers requests in a confined process.
type runner interface {
	Do(ctx context.Context, tenant string, timeout time.Duration, request []byte) ([]byte, error)
}

// Builder builds in confined processes.
type Builder struct{ runner runner }

// New returns a Builder on a pool of processes that run NewWork.
func New(r runner) *Builder { return &Builder{runner: r} }

// Output is a finished build.
type Output struct {
	// Plain is the encoded render (package render).
	Plain []byte
	// Objects is how many objects it holds.
	Objects int
	// Lookups are what a chart looks up: it has to be rendered again with the answers.
	Lookups []render.Lookup
	// Config is the digest of the values that a chart was rendered with.
	Config []byte
	// Reads is what the build looked at in the artifact.
	Reads []kustomize.Read
}

// Build builds spec, of a tenant's Kustomization, from an artifact. An error that is a *InputError is the user's
// to fix; any other is worth trying again.
func (b *Builder) Build(ctx context.Context, tenant string, tree *artifact.Tree, spec *kustomizev1.KustomizationSpec, in Inputs, timeout time.Duration) (Output, error) {
	body, err := json.Marshal(request{Dir: tree.Dir, Spec: spec, Inputs: in})
	if err != nil {
		return Output{}, fmt.Errorf("encode build request: %w", err)
	}
	body, err = b.runner.Do(ctx, tenant, timeout, body)
	switch {
	case errors.Is(err, sandbox.ErrTimeout), errors.Is(err, sandbox.ErrMemory), errors.Is(err, sandbox.ErrCrash):
		return Output{}, &InputError{Reason: ReasonBuild, Message: fmt.Sprintf("kustomize build failed: the build of %s %s", folder(spec), err)}
	case err != nil:
		return Output{}, fmt.Errorf("build: %w", err)
	}
	a, plain, err := decode(body)
	if err != nil {
		return Output{}, fmt.Errorf("build: %w", err)
	}
	if a.Broken != "" {
		return Output{}, fmt.Errorf("build: %s", a.Broken)
	}
	if a.Failure != nil {
		return Output{Reads: a.Reads}, a.Failure
	}
	return Output{Plain: plain, Objects: a.Objects, Reads: a.Reads}, nil
}

func folder(spec *kustomizev1.KustomizationSpec) string {
	if spec.Path == "" {
		return "."
	}
	return spec.Path
}

// Unchanged says that everything a build looked at is the same in another
// artifact, so that building that gives the same output.
func Unchanged(reads []kustomize.Read, tree *artifact.Tree) bool {
	for _, r := range reads {
		if !r.Same(tree) {
			return false
		}
	}
	return len(reads) > 0
}
