package handle

import (
	"context"
	"errors"
	"fmt"
	"time"

	fluxacl "github.com/fluxcd/pkg/apis/acl"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/builder/internal/objects"
	"github.com/sluice-gitops/sluice/services/builder/internal/workspace"
)

// sourceWait is when a source that has no artifact yet is looked at again.
const sourceWait = 30 * time.Second

// storageWait is when an artifact that storage lost is looked for again.
const storageWait = 5 * time.Second

// originRevision is the artifact metadata that names the revision in the system
// the artifact was made from (OCI image spec).
const originRevision = "org.opencontainers.image.revision"

// job is the work on one check, whatever kind its object is of.
type job struct {
	*Handler
	key     events.Key
	log     *bus.Log
	ring    *seal.Keyring
	started time.Time

	// The object: its kind, its uid, which is empty when it does not exist, and what it
	// says about trying again.
	kind, uid       string
	generation      int64
	interval, retry time.Duration
	// untold says that it has inputs whose changes nothing may tell of.
	untold bool

	source  objects.Source
	input   events.BuildInput
	details map[string]string
	// newest is the newest successful build of this very object, if there is one.
	newest *past
	// skipped says that the build is known to fail, so it was not tried.
	skipped bool
}

// describe fills in what events and heads say about this build's input.
func (j *job) describe(spec string) {
	j.input = events.BuildInput{Cluster: j.config.Cluster, Object: j.key, UID: j.uid, SpecDigest: spec}
	if a := j.source.Artifact; a != nil {
		j.input.Revision, j.input.SourceDigest = a.Revision, a.Digest
		j.input.OriginRevision = a.Metadata[originRevision]
	}
}

// denied refuses a source that may not be used here.
func (j *job) denied() *failure {
	var why string
	switch {
	case j.config.NoCrossNamespaceRefs && j.source.Key.Namespace != j.key.Namespace:
		why = "cross-namespace references have been blocked"
	case !j.config.ExternalArtifacts && j.source.Kind == sourcev1.ExternalArtifactKind:
		why = "ExternalArtifact feature gate is disabled"
	default:
		return nil
	}
	return &failure{reason: fluxacl.AccessDeniedReason, stalled: true, message: fmt.Sprintf(
		"can't access '%s/%s/%s', %s", j.source.Kind, j.source.Key.Namespace, j.source.Key.Name, why)}
}

// artifactName is where the fetcher stored the source's artifact.
func (j *job) artifactName() string {
	return events.ArtifactName(j.source.Key, j.source.Artifact.Digest)
}

// noArtifact reports an artifact that cannot be opened. The fetcher, which cannot
// know that storage lost or damaged it, is told.
func (j *job) noArtifact(ctx context.Context, err error) (bus.Result, error) {
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) {
		target := bus.Target{Stage: events.StageFetch, Key: j.source.Key, Note: bus.Note{Reason: bus.ReasonCorrupt, Revision: j.source.Artifact.Revision}}
		if asked := j.Log.Check(ctx, target); asked != nil {
			return bus.Result{}, fmt.Errorf("ask for the artifact: %w", asked)
		}
	}
	return j.failOr(ctx, artifactFailure(err, j.retry))
}

// artifactFailure tells what the user sees of an artifact that cannot be opened.
func artifactFailure(err error, retry time.Duration) error {
	f := &failure{reason: fluxmeta.ArtifactFailedReason}
	switch {
	case errors.Is(err, blob.ErrNotFound):
		f.message, f.retry = "Source is not ready, artifact not found, retrying in 5s", storageWait
	case errors.Is(err, blob.ErrCorrupt):
		f.message, f.retry = "Source artifact is damaged in storage, retrying in 5s: "+err.Error(), storageWait
	case errors.Is(err, workspace.ErrUnsafe):
		f.message, f.retry = err.Error(), retry
	default:
		return err
	}
	return f
}
