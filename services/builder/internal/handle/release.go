package handle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
	"github.com/sluice-gitops/sluice/services/builder/internal/helm"
	"github.com/sluice-gitops/sluice/services/builder/internal/served"
)

// retryRelease is when a chart that could not be rendered is rendered again: the cluster may
// serve more by then. What was pushed is rendered at once.
const retryRelease = time.Minute

// releaseJob is a job on a HelmRelease.
type releaseJob struct {
	*job
	hr     *helmv2.HelmRelease
	values helm.Values
}

// release does the work of a check of a HelmRelease.
func (h *Handler) release(ctx context.Context, base *job, note bus.Note) (bus.Result, error) {
	j := &releaseJob{job: base}
	if err := j.read(ctx, note, j.readObjects); err != nil {
		return bus.Result{}, err
	}
	if j.hr == nil {
		return bus.Result{Next: bus.Never}, h.forget(ctx, j.key)
	}
	if j.hr.Spec.Suspend || !j.hr.DeletionTimestamp.IsZero() {
		return bus.Result{Next: bus.Never}, nil
	}
	return j.run(ctx)
}

func (j *releaseJob) readObjects(ctx context.Context, live bool) error {
	hr, err := j.Objects.HelmRelease(ctx, j.key, live)
	j.hr, j.uid = hr, ""
	if err != nil || hr == nil {
		return err
	}
	j.uid, j.generation = string(hr.UID), hr.Generation
	j.interval, j.retry = hr.Spec.Interval.Duration, retryRelease
	j.untold = len(hr.Spec.ValuesFrom) > 0
	j.source, err = j.Objects.Chart(ctx, hr, live)
	return err
}

// run brings the log of an existing, active HelmRelease up to date.
func (j *releaseJob) run(ctx context.Context) (bus.Result, error) {
	spec, err := kube.ReleaseDigest(j.hr)
	if err != nil {
		return bus.Result{}, err
	}
	j.describe(spec)
	if f := j.denied(); f != nil {
		return j.fail(ctx, *f)
	}
	if j.source.Artifact == nil { // it is on its way, or the source says why not
		return bus.Result{Next: sourceWait}, nil
	}
	if err := j.readValues(ctx); err != nil {
		return j.failOr(ctx, err)
	}
	if j.newest, err = j.lastSuccess(ctx); err != nil {
		return bus.Result{}, err
	}
	asked, err := j.asked(ctx)
	if err != nil {
		return bus.Result{}, err
	}
	same := j.newest != nil && j.sameInput(j.newest.head)
	if same && (asked == nil || noted(j.newest.head) == *asked) {
		current, err := j.current(ctx)
		if err != nil || current {
			return bus.Result{Next: j.next()}, err
		}
	}
	if asked == nil {
		if same { // what is stored is lost: the same again
			again := noted(j.newest.head)
			return j.render(ctx, again)
		}
		if len(j.hr.Spec.DependsOn) > 0 { // the applier asks when all are ready: they may bring kinds
			return bus.Result{Next: j.next()}, nil
		}
		guess := j.guess()
		asked = &guess
	}
	return j.render(ctx, *asked)
}

// readValues reads what the values are made of and digests that. The digest is keyed: they may be secret.
func (j *releaseJob) readValues(ctx context.Context) (err error) {
	j.values, err = j.Objects.Values(ctx, j.hr)
	if errors.Is(err, helm.ErrValues) {
		return &failure{reason: build.ReasonValues, message: err.Error(), retry: j.retry}
	}
	if err != nil {
		return err
	}
	body, err := json.Marshal(j.values)
	if err != nil {
		return fmt.Errorf("digest values: %w", err)
	}
	j.details = map[string]string{detailRecipe: recipe, detailInputs: j.ring.ContentID(body)}
	return nil
}

// asked returns the render that the applier said last it needs, nil when it said nothing.
func (j *releaseJob) asked(ctx context.Context) (*events.RenderWanted, error) {
	log, err := j.Log.Open(ctx, events.ApplySubject(j.config.Cluster, j.key))
	if err != nil {
		return nil, err
	}
	e, ok := log.Last()
	if !ok || e.Type() != events.TypeApplyProgressing {
		return nil, nil
	}
	var data events.ApplyProgressing
	if readable := e.DataAs(&data) == nil; !readable || data.UID != j.uid {
		return nil, nil // nothing that was said about this object
	}
	return data.Wanted, nil
}

// guess is the render that will be needed as far as the object's status tells. The applier,
// which knows Helm's storage, asks for another when it is wrong.
func (j *releaseJob) guess() events.RenderWanted {
	newest := j.hr.Status.History.Latest()
	if newest == nil || newest.Name != kube.ReleaseName(j.hr) || newest.Namespace != j.hr.GetReleaseNamespace() {
		return events.RenderWanted{Action: render.Install, Revision: 1}
	}
	if newest.Status == "uninstalled" && !j.hr.GetUninstall().KeepHistory {
		return events.RenderWanted{Action: render.Install, Revision: 1}
	}
	if newest.Status == "uninstalled" {
		return events.RenderWanted{Action: render.Install, Revision: newest.Version + 1}
	}
	return events.RenderWanted{Action: render.Upgrade, Revision: newest.Version + 1}
}

// noted is what a head was rendered for.
func noted(h seal.Head) events.RenderWanted {
	revision, _ := strconv.Atoi(h.Details[seal.DetailRevision]) // a head that has none is for no revision
	return events.RenderWanted{Action: h.Details[seal.DetailAction], Revision: revision}
}

// render renders the chart for an action.
func (j *releaseJob) render(ctx context.Context, wanted events.RenderWanted) (bus.Result, error) {
	tree, err := j.Trees.Open(ctx, j.artifactName(), j.source.Artifact.Digest)
	if err != nil {
		return j.noArtifact(ctx, err)
	}
	defer tree.Release()
	cluster, err := j.cluster(ctx)
	if err != nil {
		return j.notRendered(ctx, err, wanted)
	}
	j.details[seal.DetailAction], j.details[seal.DetailRevision] = wanted.Action, strconv.Itoa(wanted.Revision)
	request := j.request(cluster, wanted)
	if wanted.Action == render.Upgrade && j.hr.GetUpgrade().PreserveValues {
		if request.Previous, err = j.Target.Previous(ctx, j.ring, j.identity()); err != nil {
			return j.notRendered(ctx, err, wanted)
		}
	}
	out, err := j.rendered(ctx, tree.Tree, request)
	if err != nil {
		return j.notRendered(ctx, err, wanted)
	}
	j.details[seal.DetailConfig] = j.ring.ContentID(out.Config) // keyed: values may be secret
	id := j.ring.ContentID(out.Plain)
	if err := j.store(ctx, id, out.Plain); err != nil {
		return bus.Result{}, err
	}
	return j.succeed(ctx, id, out.Objects, "built")
}

// notRendered ends a check of a chart that could not be rendered for an action. A cluster that gives no answer for now is no
// failure of the build: the applier says what is wrong.
func (j *releaseJob) notRendered(ctx context.Context, err error, wanted events.RenderWanted) (bus.Result, error) {
	switch {
	case errors.Is(err, served.ErrUnavailable):
		return bus.Result{Next: clusterWait}, nil
	case errors.Is(err, served.ErrBusy):
		return bus.Result{Next: busyWait}, nil
	}
	return j.failOr(ctx, j.explain(err, wanted))
}

// clusterWait is when a cluster that gave no answer is asked again. The applier asks for the render
// as soon as it answers.
const clusterWait = 30 * time.Second

// busyWait is when a cluster is asked again that was busy.
const busyWait = 2 * time.Second

// reasonClient is Flux's reason for a cluster that cannot be used.
const reasonClient = "RESTClientError"

// cluster is what templates see of the cluster that the release is made in.
func (j *releaseJob) cluster(ctx context.Context) (helm.Cluster, error) {
	if j.hr.Spec.KubeConfig == nil {
		return j.Target.Cluster(ctx)
	}
	return j.Target.Remote(ctx, j.ring, j.identity())
}

// lookupRounds is how often templates may look up what depends on what they looked up before.
const lookupRounds = 10

// rendered renders, and again with what the templates look up until they ask for nothing more.
func (j *releaseJob) rendered(ctx context.Context, tree *artifact.Tree, q helm.Request) (build.Output, error) {
	for range lookupRounds {
		out, err := j.Builder.Release(ctx, j.hr.Namespace, tree, q, min(j.hr.GetTimeout().Duration, j.config.MaxBuild))
		if err != nil || len(out.Lookups) == 0 {
			return out, err
		}
		found, err := j.Target.Lookup(ctx, j.ring, j.identity(), out.Lookups)
		if err != nil {
			return build.Output{}, err
		}
		q.Found = append(q.Found, found...)
	}
	return build.Output{}, &build.InputError{Reason: build.ReasonRender, Message: fmt.Sprintf(
		"the chart looks up what depends on what it looked up, more than %d times in a row", lookupRounds)}
}

func (j *releaseJob) request(cluster helm.Cluster, wanted events.RenderWanted) helm.Request {
	q := helm.Request{
		Name: kube.ReleaseName(j.hr), Namespace: j.hr.GetReleaseNamespace(), Origin: helm.Origin{Name: j.hr.Name, Namespace: j.hr.Namespace},
		Action: wanted.Action, Revision: wanted.Revision, Values: j.values, Cluster: cluster,
		PostRenderers: j.hr.Spec.PostRenderers, Strategy: j.hr.GetPostRenderStrategy(), CommonMetadata: j.hr.Spec.CommonMetadata,
		SkipSchema: j.hr.GetInstall().DisableSchemaValidation, SkipCRDs: kube.InstallCRDs(j.hr) == helmv2.Skip,
	}
	if wanted.Action == render.Upgrade {
		q.SkipSchema, q.SkipCRDs = j.hr.GetUpgrade().DisableSchemaValidation, j.hr.GetUpgrade().CRDs == helmv2.Skip
	}
	if j.source.Kind == sourcev1.OCIRepositoryKind {
		q.Tag, q.Digest = splitRevision(j.source.Artifact.Revision)
	}
	return q
}

// splitRevision splits tag@sha256:hex; either may be missing.
func splitRevision(revision string) (tag, hex string) {
	tag, digest, ok := strings.Cut(revision, "@")
	if !ok {
		tag, digest = "", revision
	}
	return tag, hexOf(digest)
}

// explain says which action a chart that cannot be rendered fails, and what of its cluster fails a build: that it refuses to
// answer, or that the answer has no room.
func (j *releaseJob) explain(err error, wanted events.RenderWanted) error {
	var refused *served.RefusedError
	if errors.As(err, &refused) {
		return &failure{reason: reasonClient, message: refused.Error(), retry: j.retry}
	}
	var limit *served.LimitError
	if errors.As(err, &limit) {
		kind, name := kube.ChartSource(j.hr)
		err = &build.InputError{Reason: build.ReasonRender, Message: fmt.Sprintf("the chart of %s %s cannot be rendered: %s", kind, name, limit)}
	}
	var input *build.InputError
	if !errors.As(err, &input) || input.Reason != build.ReasonRender {
		return err
	}
	reason := helmv2.InstallFailedReason
	if wanted.Action == render.Upgrade {
		reason = helmv2.UpgradeFailedReason
	}
	return &failure{reason: reason, retry: j.retry, message: input.Message}
}
