package helmchart

import (
	"bytes"
	"context"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartfile"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// artifact is a chart in the artifact of another source.
type artifact struct {
	kind   *Kind
	object *sourcev1.HelmChart
	of     *meta.Artifact
	path   string
	// seen is the revision that the last good pass looked at, "" when there is none.
	seen string

	// unpacked and tree are there once the artifact was read.
	unpacked *pack.Unpacked
	tree     *chartfile.Tree
}

func (k *Kind) fromSource(ctx context.Context, o *sourcev1.HelmChart, into client.Object, of func() *meta.Artifact) (from, error) {
	path, err := pack.Within(o.Spec.Chart)
	if err != nil {
		return nil, badReference.of(err)
	}
	if err := k.read(ctx, o, into); err != nil {
		return nil, err
	}
	a := &artifact{kind: k, object: o, of: of(), path: path}
	if a.of == nil {
		return nil, noArtifact(o)
	}
	if settled(o) {
		a.seen = o.Status.ObservedSourceArtifactRevision
	}
	o.Status.ObservedSourceArtifactRevision = a.of.Revision
	return a, nil
}

func (a *artifact) close() error {
	if a.unpacked == nil {
		return nil
	}
	return a.unpacked.Close()
}

// find implements from. The source is not read when this very revision of it was.
func (a *artifact) find(ctx context.Context) (found, error) {
	if a.seen == a.of.Revision {
		return found{name: a.object.Status.ObservedChartName, version: a.object.Status.Artifact.Revision}, nil
	}
	c, err := a.chart(ctx)
	if err != nil {
		return found{}, err
	}
	version, err := chartfile.WithMetadata(c.Version(), metadata(a.object, a.of.Revision))
	if err != nil {
		return found{}, badVersion.of(err)
	}
	return found{name: c.Name(), version: version}, nil
}

// chart reads the chart as the source has it.
func (a *artifact) chart(ctx context.Context) (*chartfile.Chart, error) {
	if err := a.unpack(ctx); err != nil {
		return nil, err
	}
	c, err := a.tree.Chart(ctx, a.path)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, pullFailed.of(source.Cause(ctx, err)) // which says nothing of the reference
	case err != nil:
		return nil, badReference.of(err)
	}
	return c, nil
}

func (a *artifact) unpack(ctx context.Context) error {
	if a.tree != nil {
		return nil
	}
	body, err := a.kind.config.Artifact(ctx, sourceOf(a.object), a.of.Digest)
	if err == nil {
		defer body.Close()
		a.unpacked, err = pack.Unpack(ctx, body, a.kind.config.Scratch, a.kind.config.Limits)
	}
	if err != nil {
		return source.FetchFailed("SourceUnavailable", fmt.Errorf("failed to get source: read artifact of %s: %w", sourceOf(a.object), source.Cause(ctx, err)))
	}
	a.tree = chartfile.NewTree(a.unpacked.Files, a.kind.config.MaxChart, a.kind.config.MaxFile)
	return nil
}

// make implements from.
func (a *artifact) make(ctx context.Context, f found) (made, error) {
	c, err := a.chart(ctx)
	if err != nil {
		return made{}, err
	}
	archive, err := a.tree.Package(a.path)
	if err != nil {
		return made{}, badReference.of(err)
	}
	if archive != nil && metadata(a.object, a.of.Revision) == "" {
		return made{found: f, archive: bytes.NewReader(archive)}, nil
	}
	used, err := setValues(a.object, c, func(name string) (map[string]any, error) { return a.values(c, name) })
	if err != nil {
		return made{}, err
	}
	if archive == nil {
		if err := a.vendor(ctx, c); err != nil {
			return made{}, dependency.of(source.Cause(ctx, err))
		}
	}
	if err := c.SetVersion(f.version); err != nil {
		return made{}, badVersion.of(err)
	}
	return made{found: f, files: c.Files(), values: used}, nil
}

// values reads a values file for a chart; its path is that in the source.
func (a *artifact) values(c *chartfile.Chart, name string) (map[string]any, error) {
	clean, err := pack.Within(name)
	if err != nil {
		return nil, err
	}
	text, err := a.tree.File(clean)
	if err != nil {
		return nil, err
	}
	return c.ParseValues(text)
}
