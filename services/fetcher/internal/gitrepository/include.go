package gitrepository

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

const (
	reasonIncludeChange = "IncludeChange"
	// includeWait is when an object is looked at again whose includes are not there.
	includeWait = 30 * time.Second
)

// include is the artifact of another GitRepository and where it goes.
type include struct {
	spec     sourcev1.GitRepositoryInclude
	artifact *meta.Artifact
}

// includes finds the artifacts that the object includes.
func (k *Kind) includes(ctx context.Context, o *sourcev1.GitRepository) ([]include, error) {
	var found []include
	for _, spec := range o.Spec.Include {
		name := spec.GitRepositoryRef.Name
		other, err := k.included(ctx, o.Namespace, name)
		switch {
		case apierrors.IsNotFound(err):
			return nil, unavailable("NotFound", fmt.Errorf("could not get resource for include '%s': %w", name, err))
		case err != nil:
			return nil, fmt.Errorf("could not get resource for include '%s': %w", name, err)
		case other.Status.Artifact == nil:
			return nil, unavailable("NoArtifact", fmt.Errorf("no artifact available for include '%s'", name))
		}
		found = append(found, include{spec: spec, artifact: other.Status.Artifact})
	}
	return found, k.acyclic(ctx, o)
}

func (k *Kind) included(ctx context.Context, namespace, name string) (*sourcev1.GitRepository, error) {
	var other sourcev1.GitRepository
	err := k.live.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &other)
	return &other, err
}

// acyclic refuses an object that includes itself, by way of others too: each of its
// artifacts would ask for the next, without end.
func (k *Kind) acyclic(ctx context.Context, o *sourcev1.GitRepository) error {
	seen := map[string]bool{}
	queue := slices.Clone(o.Spec.Include)
	for len(queue) > 0 {
		name := queue[0].GitRepositoryRef.Name
		queue = queue[1:]
		if name == o.Name {
			return unavailable("IncludeCycle", fmt.Errorf("'%s' is included by what it includes: remove one of the includes", name))
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		other, err := k.included(ctx, o.Namespace, name)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("could not get resource for include '%s': %w", name, err)
		}
		queue = append(queue, other.Spec.Include...)
	}
	return nil
}

func unavailable(reason string, err error) error {
	return &source.Error{Condition: sourcev1.IncludeUnavailableCondition, Reason: reason, Err: err, Wait: includeWait}
}

// includesChanged says that the artifact in storage was made from other includes.
func includesChanged(o *sourcev1.GitRepository, now []include) bool {
	return !slices.EqualFunc(o.Status.IncludedArtifacts, now, func(was *meta.Artifact, is include) bool {
		return was != nil && was.Digest == is.artifact.Digest && was.Revision == is.artifact.Revision
	})
}

func artifactsOf(includes []include) []*meta.Artifact {
	var all []*meta.Artifact
	for _, i := range includes {
		all = append(all, i.artifact)
	}
	return all
}

// copyIncludes adds to files what the includes hold. The caller calls done when the
// files are read.
func (k *Kind) copyIncludes(ctx context.Context, namespace string, files []pack.File, includes []include) (_ []pack.File, done func(), err error) {
	trees := pack.NewTrees(k.config.Scratch, k.config.Limits)
	forget := func() { _ = trees.Close() } // scratch is emptied at the next start too
	defer func() {
		if err != nil {
			forget()
		}
	}()
	for _, i := range includes {
		name, from, to := i.spec.GitRepositoryRef.Name, i.spec.GetFromPath(), i.spec.GetToPath()
		target, err := pack.Within(to)
		if err != nil {
			return nil, nil, source.StorageFailed("IllegalPath", fmt.Errorf("path calculation for include '%s' failed: %w", name, err))
		}
		tree, err := trees.Unpack(ctx, name+"@"+i.artifact.Digest, func() (io.ReadCloser, error) {
			return k.config.Artifact(ctx, events.NewKey(k.Name(), namespace, name), i.artifact.Digest)
		})
		if err == nil {
			files, err = graft(files, target, tree.Files, from)
		}
		// As many as the repository and all that is included have, of which the ignore rules may leave out what is too much.
		if most := 2 * k.config.Limits.Entries; err == nil && len(files) > most {
			err = fmt.Errorf("with it there are more than %d files and folders: %w", most, pack.ErrLimit)
		}
		if err != nil {
			return nil, nil, source.StorageFailed("CopyFailure",
				fmt.Errorf("failed to copy '%s' include from %s to %s: %w", name, from, to, source.Cause(ctx, err)))
		}
	}
	return files, forget, nil
}

func graft(files []pack.File, to string, branch []pack.File, from string) ([]pack.File, error) {
	start, err := pack.Within(from)
	if err != nil {
		return nil, err
	}
	return pack.Graft(files, to, branch, start)
}
