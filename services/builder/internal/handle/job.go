package handle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxacl "github.com/fluxcd/pkg/apis/acl"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
	"github.com/sluice-gitops/sluice/services/builder/internal/decrypt"
	"github.com/sluice-gitops/sluice/services/builder/internal/objects"
	"github.com/sluice-gitops/sluice/services/builder/internal/substitute"
	"github.com/sluice-gitops/sluice/services/builder/internal/workspace"
)

// sourceWait is when a source that has no artifact yet is looked at again.
const sourceWait = 30 * time.Second

// storageWait is when an artifact that storage lost is looked for again.
const storageWait = 5 * time.Second

// originRevision is the artifact metadata that names the revision in the system
// the artifact was made from (OCI image spec).
const originRevision = "org.opencontainers.image.revision"

// job is the work on one check.
type job struct {
	*Handler
	key     events.Key
	log     *bus.Log
	ring    *seal.Keyring
	started time.Time

	ks      *kustomizev1.Kustomization
	source  objects.Source
	input   events.BuildInput
	inputs  build.Inputs
	details map[string]string
	// newest is the newest successful build of this very object, if there is one.
	newest *past
	// skipped says that the build is known to fail, so it was not tried.
	skipped bool
}

// run brings the log of an existing, active Kustomization up to date.
func (j *job) run(ctx context.Context) (bus.Result, error) {
	if err := j.describe(); err != nil {
		return bus.Result{}, err
	}
	if f := j.refusal(); f != nil {
		return j.fail(ctx, *f)
	}
	if j.source.Artifact == nil { // it is on its way, or the source says why not
		return bus.Result{Next: sourceWait}, nil
	}
	if err := j.readInputs(ctx); err != nil {
		return j.failOr(ctx, err)
	}
	newest, err := j.lastSuccess(ctx)
	if err != nil {
		return bus.Result{}, err
	}
	j.newest = newest
	current, err := j.current(ctx)
	if err != nil || current {
		return bus.Result{Next: j.next()}, err
	}
	return j.render(ctx)
}

// render builds what is not in the log, or finds out that nothing has to be built.
func (j *job) render(ctx context.Context) (bus.Result, error) {
	tree, err := j.Trees.Open(ctx, j.artifactName(), j.source.Artifact.Digest)
	if err != nil {
		return j.noArtifact(ctx, err)
	}
	defer tree.Release()
	if id, n, ok := j.memory.unchanged(j, tree.Tree); ok && j.newest.is(id) && j.stored(ctx, id) == nil {
		return j.succeed(ctx, id, n, "skipped")
	}
	if failed := j.memory.failsAgain(j, tree.Tree); failed != nil {
		j.skipped = true
		return j.failOr(ctx, failed)
	}
	out, err := j.Builder.Build(ctx, j.ks.Namespace, tree.Tree, &j.ks.Spec, j.inputs, j.timeout())
	if err != nil {
		j.memory.drop(j.key)
		var failed *build.InputError
		if errors.As(err, &failed) {
			j.memory.rememberFailure(j, failed, out.Reads)
		}
		return j.failOr(ctx, err)
	}
	id := j.ring.ContentID(out.Plain)
	if err := j.store(ctx, id, out.Plain); err != nil {
		return bus.Result{}, err
	}
	result, err := j.succeed(ctx, id, out.Objects, "built")
	if err == nil {
		j.memory.remember(j, id, out)
	}
	return result, err
}

// describe fills in what events and heads say about this build's input.
func (j *job) describe() error {
	spec, err := kube.SpecDigest(j.ks.Spec)
	if err != nil {
		return err
	}
	j.input = events.BuildInput{
		Cluster: j.config.Cluster, Object: j.key, UID: string(j.ks.UID), SpecDigest: spec,
	}
	if a := j.source.Artifact; a != nil {
		j.input.Revision, j.input.SourceDigest = a.Revision, a.Digest
		j.input.OriginRevision = a.Metadata[originRevision]
	}
	return nil
}

// refusal checks what must hold before anything is read for the build.
func (j *job) refusal() *failure {
	if f := j.undecipherable(); f != nil {
		return f
	}
	if f := j.denied(); f != nil {
		return f
	}
	if j.source.Absent {
		return &failure{reason: fluxmeta.ArtifactFailedReason, message: fmt.Sprintf("Source '%s' not found", j.ks.Spec.SourceRef.String()), retry: j.retryInterval()}
	}
	return nil
}

// denied refuses a source that may not be used here.
func (j *job) denied() *failure {
	var why string
	switch {
	case j.config.NoCrossNamespaceRefs && j.source.Key.Namespace != j.ks.Namespace:
		why = "cross-namespace references have been blocked"
	case !j.config.ExternalArtifacts && j.source.Kind == sourcev1.ExternalArtifactKind:
		why = "ExternalArtifact feature gate is disabled"
	default:
		return nil
	}
	return &failure{reason: fluxacl.AccessDeniedReason, stalled: true, message: fmt.Sprintf(
		"can't access '%s/%s/%s', %s", j.source.Kind, j.source.Key.Namespace, j.source.Key.Name, why)}
}

// undecipherable refuses a way of decrypting that is not served.
func (j *job) undecipherable() *failure {
	d := j.ks.Spec.Decryption
	switch {
	case d == nil:
		return nil
	case d.ServiceAccountName != "":
		return &failure{reason: fluxmeta.FeatureGateDisabledReason, stalled: true, message: "spec.decryption.serviceAccountName needs the feature gate " +
			"ObjectLevelWorkloadIdentity, which this version of Sluice does not have: give the keys in spec.decryption.secretRef"}
	case d.Provider != decrypt.Provider:
		return &failure{reason: fluxmeta.BuildFailedReason, stalled: true, message: fmt.Sprintf(
			"spec.decryption: provider %q is not known, use %s", d.Provider, decrypt.Provider)}
	}
	return nil
}

// readInputs reads variables and keys, and digests what the output depends on
// beside artifact and spec. The digest is keyed: they may be secret.
func (j *job) readInputs(ctx context.Context) error {
	sources, err := j.Objects.Variables(ctx, j.ks)
	if err == nil {
		j.inputs.Variables = substitute.Merge(sources...)
		j.inputs.Keys, err = j.Objects.DecryptionKeys(ctx, j.ks)
	}
	if errors.Is(err, objects.ErrVariables) || errors.Is(err, objects.ErrDecryption) {
		return &build.InputError{Reason: build.ReasonBuild, Message: err.Error()}
	}
	if err != nil {
		return err
	}
	body, err := json.Marshal(j.inputs)
	if err != nil {
		return fmt.Errorf("digest inputs: %w", err)
	}
	j.details = map[string]string{detailRecipe: recipe, detailInputs: j.ring.ContentID(body)}
	return nil
}

// artifactName is where the fetcher stored the source's artifact.
func (j *job) artifactName() string {
	return fmt.Sprintf("artifacts/%s/%s/%s/%s.tar.gz", j.source.Key.Kind, j.source.Key.Namespace, j.source.Key.Name,
		hexOf(j.source.Artifact.Digest))
}

// noteCorrupt asks the fetcher to read the stored artifact through, and to make it
// again unless it is whole.
const noteCorrupt = "corrupt"

// noArtifact reports an artifact that cannot be opened. The fetcher, which cannot
// know that storage lost or damaged it, is told.
func (j *job) noArtifact(ctx context.Context, err error) (bus.Result, error) {
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) {
		target := bus.Target{Stage: events.StageFetch, Key: j.source.Key, Note: bus.Note{Reason: noteCorrupt, Revision: j.source.Artifact.Revision}}
		if asked := j.Log.Check(ctx, target); asked != nil {
			return bus.Result{}, fmt.Errorf("ask for the artifact: %w", asked)
		}
	}
	return j.failOr(ctx, artifactFailure(err, j.retryInterval()))
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

// timeout of the build: the spec's, 30 s at least, and the operator's bound.
func (j *job) timeout() time.Duration { return min(j.ks.GetTimeout(), j.config.MaxBuild) }

func (j *job) retryInterval() time.Duration { return j.ks.GetRetryInterval() }
