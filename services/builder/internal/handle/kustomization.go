package handle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
	"github.com/sluice-gitops/sluice/services/builder/internal/decrypt"
	"github.com/sluice-gitops/sluice/services/builder/internal/objects"
	"github.com/sluice-gitops/sluice/services/builder/internal/substitute"
)

// kustomization is a job on a Kustomization.
type kustomization struct {
	*job
	ks     *kustomizev1.Kustomization
	inputs build.Inputs
}

// kustomization does the work of a check of a Kustomization.
func (h *Handler) kustomization(ctx context.Context, base *job, note bus.Note) (bus.Result, error) {
	j := &kustomization{job: base}
	if err := j.read(ctx, note, j.readObjects); err != nil {
		return bus.Result{}, err
	}
	if j.ks == nil {
		return bus.Result{Next: bus.Never}, h.forget(ctx, j.key)
	}
	if j.ks.Spec.Suspend || !j.ks.DeletionTimestamp.IsZero() {
		return bus.Result{Next: bus.Never}, nil
	}
	return j.run(ctx)
}

func (j *kustomization) readObjects(ctx context.Context, live bool) error {
	ks, err := j.Objects.Kustomization(ctx, j.key, live)
	j.ks, j.uid = ks, ""
	if err != nil || ks == nil {
		return err
	}
	j.uid, j.generation = string(ks.UID), ks.Generation
	j.interval, j.retry = ks.Spec.Interval.Duration, ks.GetRetryInterval()
	post := ks.Spec.PostBuild
	j.untold = post != nil && len(post.SubstituteFrom) > 0 || ks.Spec.Decryption != nil
	j.source, err = j.Objects.Source(ctx, ks, live)
	return err
}

// run brings the log of an existing, active Kustomization up to date.
func (j *kustomization) run(ctx context.Context) (bus.Result, error) {
	spec, err := kube.SpecDigest(j.ks.Spec)
	if err != nil {
		return bus.Result{}, err
	}
	j.describe(spec)
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
func (j *kustomization) render(ctx context.Context) (bus.Result, error) {
	tree, err := j.Trees.Open(ctx, j.artifactName(), j.source.Artifact.Digest)
	if err != nil {
		return j.noArtifact(ctx, err)
	}
	defer tree.Release()
	if id, n, ok := j.memory.unchanged(j.job, tree.Tree); ok && j.newest.is(id) && j.stored(ctx, id) == nil {
		return j.succeed(ctx, id, n, "skipped")
	}
	if failed := j.memory.failsAgain(j.job, tree.Tree); failed != nil {
		j.skipped = true
		return j.failOr(ctx, failed)
	}
	out, err := j.Builder.Build(ctx, j.ks.Namespace, tree.Tree, &j.ks.Spec, j.inputs, j.timeout())
	if err != nil {
		j.memory.drop(j.key)
		var failed *build.InputError
		if errors.As(err, &failed) {
			j.memory.rememberFailure(j.job, failed, out.Reads)
		}
		return j.failOr(ctx, err)
	}
	id := j.ring.ContentID(out.Plain)
	if err := j.store(ctx, id, out.Plain); err != nil {
		return bus.Result{}, err
	}
	result, err := j.succeed(ctx, id, out.Objects, "built")
	if err == nil {
		j.memory.remember(j.job, id, out)
	}
	return result, err
}

// refusal checks what must hold before anything is read for the build.
func (j *kustomization) refusal() *failure {
	if f := j.undecipherable(); f != nil {
		return f
	}
	if f := j.denied(); f != nil {
		return f
	}
	if j.source.Absent {
		return &failure{reason: fluxmeta.ArtifactFailedReason, message: fmt.Sprintf("Source '%s' not found", j.ks.Spec.SourceRef.String()), retry: j.retry}
	}
	return nil
}

// undecipherable refuses a way of decrypting that is not served.
func (j *kustomization) undecipherable() *failure {
	d := j.ks.Spec.Decryption
	switch {
	case d == nil:
		return nil
	case d.ServiceAccountName != "":
		return &failure{reason: fluxmeta.FeatureGateDisabledReason, stalled: true, message: "spec.decryption.serviceAccountName is not served, " +
			"with or without the feature gate ObjectLevelWorkloadIdentity: this version of Sluice uses age and PGP keys: give them in spec.decryption.secretRef"}
	case d.Provider != decrypt.Provider:
		return &failure{reason: fluxmeta.BuildFailedReason, stalled: true, message: fmt.Sprintf(
			"spec.decryption: provider %q is not known, use %s", d.Provider, decrypt.Provider)}
	}
	return nil
}

// readInputs reads variables and keys, and digests what the output depends on
// beside artifact and spec. The digest is keyed: they may be secret.
func (j *kustomization) readInputs(ctx context.Context) error {
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

// timeout of the build: the spec's, 30 s at least, and the operator's bound.
func (j *kustomization) timeout() time.Duration { return min(j.ks.GetTimeout(), j.config.MaxBuild) }
