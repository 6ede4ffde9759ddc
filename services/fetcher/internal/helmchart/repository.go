package helmchart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"helm.sh/helm/v3/pkg/chartutil"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartfile"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartindex"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartrepo"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/helmrepository"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// names are those that a chart of a repository may have.
var names = regexp.MustCompile(`^([-a-z0-9]+/?\.?)+$`)

// repository is a chart in a HelmRepository.
type repository struct {
	kind   *Kind
	object *sourcev1.HelmChart
	// of is the HelmRepository, access how it is read.
	of     *sourcev1.HelmRepository
	access chartrepo.Repository
	// version is what find chose.
	version chartindex.Version
}

func (k *Kind) fromRepository(ctx context.Context, o *sourcev1.HelmChart) (from, error) {
	if !names.MatchString(o.Spec.Chart) {
		return nil, badReference.of(fmt.Errorf("invalid chart name '%s': a valid name must be lower case letters and numbers and MAY be separated with dashes (-), slashes (/) or periods (.)", o.Spec.Chart))
	}
	r := &repository{kind: k, object: o, of: &sourcev1.HelmRepository{}}
	if err := k.read(ctx, o, r.of); err != nil {
		return nil, err
	}
	switch {
	case r.of.Spec.Type == sourcev1.HelmRepositoryTypeOCI:
		return k.fromRegistry(ctx, o, r.of)
	case o.Spec.Verify != nil:
		return nil, source.Stalled("InvalidChartReference", errors.New("spec.verify works with HelmRepositories of type oci only: remove it from the HelmChart"))
	case r.of.Status.Artifact == nil:
		return nil, noArtifact(o)
	}
	o.Status.ObservedSourceArtifactRevision = r.of.Status.Artifact.Revision
	var err error
	if r.access, err = helmrepository.Access(ctx, k.live, r.of); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *repository) close() error { return nil }

// find implements from.
func (r *repository) find(ctx context.Context) (found, error) {
	table, err := r.table(ctx)
	if err != nil {
		return found{}, pullFailed.of(fmt.Errorf("could not load repository index for remote chart reference: %w", source.Cause(ctx, err)))
	}
	if r.version, err = table.Find(r.object.Spec.Chart, r.object.Spec.Version); err != nil {
		return found{}, badReference.of(fmt.Errorf("failed to get chart version for remote reference: %w", err))
	}
	version, err := chartfile.WithMetadata(r.version.Version, metadata(r.object, ""))
	if err != nil {
		return found{}, badVersion.of(err)
	}
	return found{name: path.Base(r.object.Spec.Chart), version: version}, nil
}

// table returns the table of the HelmRepository's index, from memory or its artifact.
func (r *repository) table(ctx context.Context) (*chartindex.Index, error) {
	artifact := r.of.Status.Artifact
	if table := r.kind.config.Tables.Get(artifact.Digest); table != nil {
		return table, nil
	}
	key := events.NewKey(sourcev1.HelmRepositoryKind, r.of.Namespace, r.of.Name)
	body, err := r.kind.config.Artifact(ctx, key, artifact.Digest)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	table, err := chartindex.Read(body)
	if err != nil {
		return nil, err
	}
	r.kind.config.Tables.Put(artifact.Digest, table)
	return table, nil
}

// make implements from. A package that nothing is to be changed in is stored as it is.
func (r *repository) make(ctx context.Context, f found) (made, error) {
	ctx, cancel := source.Within(ctx, r.of.GetTimeout())
	defer cancel()
	archive, err := r.kind.repositories.Chart(ctx, r.access, r.version)
	if err != nil {
		return made{}, pullFailed.of(fmt.Errorf("failed to download chart for remote reference: %w", source.Cause(ctx, err)))
	}
	return repackage(r.object, f, archive)
}

// repackage returns the chart of a repository's package.
func repackage(o *sourcev1.HelmChart, f found, archive []byte) (made, error) {
	c, err := chartfile.Open(archive)
	if err != nil {
		return made{}, pullFailed.of(fmt.Errorf("failed to load downloaded chart: %w", err))
	}
	f.name = c.Name()
	if metadata(o, "") == "" {
		return made{found: f, archive: bytes.NewReader(archive)}, nil
	}
	used, err := setValues(o, c, func(name string) (map[string]any, error) {
		name = path.Clean(name)
		if name == chartutil.ValuesfileName {
			return c.Values(), nil
		}
		text := c.File(name)
		if text == nil {
			return nil, fs.ErrNotExist
		}
		return c.ParseValues(text)
	})
	if err != nil {
		return made{}, err
	}
	if err := c.SetVersion(f.version); err != nil {
		return made{}, badVersion.of(err)
	}
	return made{found: f, files: c.Files(), values: used}, nil
}
