package build

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/services/builder/internal/helm"
	"github.com/sluice-gitops/sluice/services/builder/internal/sandbox"
)

// ReasonRender is the reason of a chart that cannot be rendered. It is no reason of a Ready
// condition: the applier says which action failed with it.
const ReasonRender = "RenderFailed"

// ReasonValues is Flux's reason for values that cannot be put together.
const ReasonValues = "ValuesError"

// reasonVersion is Flux's reason for a chart that is not of the version that its tag says.
const reasonVersion = "ChartMutateError"

// maxRender bounds what the render of a release weighs (render.Weight). Helm stores, in a Secret of a mebibyte, releases of
// some ten.
const maxRender = 48 << 20

// smaller is what helps a release whose render is too much.
const smaller = "make the chart or its values smaller"

// Release renders the chart in an artifact, for a tenant's HelmRelease. Output.Plain is a
// render.Release, unless Output.Lookups asks for more. An error that is a *InputError is the user's to fix; any other is worth
// trying again.
func (b *Builder) Release(ctx context.Context, tenant string, tree *artifact.Tree, q helm.Request, timeout time.Duration) (Output, error) {
	body, err := json.Marshal(request{Dir: tree.Dir, Release: &q})
	if err != nil {
		return Output{}, fmt.Errorf("encode render request: %w", err)
	}
	body, err = b.runner.Do(ctx, tenant, timeout, body)
	switch {
	case errors.Is(err, sandbox.ErrTimeout), errors.Is(err, sandbox.ErrMemory), errors.Is(err, sandbox.ErrCrash):
		return Output{}, &InputError{Reason: ReasonRender, Message: "rendering the chart " + err.Error() + "; " + smaller}
	case err != nil:
		return Output{}, fmt.Errorf("render: %w", err)
	}
	a, plain, err := decode(body)
	switch {
	case err != nil:
		return Output{}, fmt.Errorf("render: %w", err)
	case a.Broken != "":
		return Output{}, fmt.Errorf("render: %s", a.Broken)
	case a.Failure != nil:
		return Output{}, a.Failure
	}
	return Output{Plain: plain, Objects: a.Objects, Lookups: a.Lookups, Config: a.Config}, nil
}

// bounded refuses a render that would need too much memory of those who read it and are not confined.
func bounded(name string, plain []byte, r render.Release) error {
	if weight := render.Weight(plain); weight > maxRender {
		crds := 0
		for _, f := range r.CRDs {
			crds += len(f.Data)
		}
		return fmt.Errorf("release %s of chart %s is too large: its render needs %d bytes of memory where %d are allowed "+
			"(its manifest has %d bytes, its CRDs without aliases %d); %s",
			name, r.Chart.Name(), weight, maxRender, len(r.Manifest), crds, smaller)
	}
	return nil
}

// reasonOf is the reason of a render that failed.
func reasonOf(err error) string {
	var version *helm.VersionError
	switch {
	case errors.As(err, &version):
		return reasonVersion
	case errors.Is(err, helm.ErrValues):
		return ReasonValues
	}
	return ReasonRender
}

// release renders a chart in a child.
func release(open *opened, q request) (reply, []byte) {
	tree, err := open.get(q.Dir)
	if err != nil {
		return reply{Broken: "the unpacked artifact cannot be read"}, nil
	}
	if open.chart == nil {
		if open.chart, err = helm.Load(tree); err != nil {
			return reply{Failure: &InputError{Reason: fluxmeta.ArtifactFailedReason, Message: err.Error()}}, nil
		}
	}
	rendered, err := helm.Render(open.chart, *q.Release)
	var lookups *helm.LookupError
	if errors.As(err, &lookups) {
		return reply{Lookups: lookups.Lookups}, nil
	}
	if err != nil {
		return reply{Failure: &InputError{Reason: reasonOf(err), Message: err.Error()}}, nil
	}
	plain, err := render.EncodeRelease(rendered)
	if err == nil {
		err = bounded(q.Release.Name, plain, rendered)
	}
	if err != nil {
		return reply{Failure: &InputError{Reason: ReasonRender, Message: err.Error()}}, nil
	}
	config, err := json.Marshal(rendered.Config)
	if err != nil {
		return reply{Failure: &InputError{Reason: ReasonValues, Message: err.Error()}}, nil
	}
	sum := sha256.Sum256(config)
	return reply{Objects: helm.Objects(rendered), Config: sum[:]}, plain
}
