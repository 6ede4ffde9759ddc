package handle

import (
	"context"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/publish"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// announce writes the Kubernetes Event of the outcome, if there is news.
func (p *pass) announce(failed *source.Error) {
	if failed != nil {
		kind := warning
		if failed.Wait > 0 {
			kind = normal
		}
		p.record(p.obj, nil, kind, failed.Reason, message(failed))
		return
	}
	artifact := p.artifact()
	about := map[string]string{
		sourcev1.GroupVersion.Group + "/revision": artifact.Revision,
		sourcev1.GroupVersion.Group + "/digest":   artifact.Digest,
	}
	switch was := *p.was.Artifact; {
	case was == nil || was.Digest != artifact.Digest:
		reason := "NewArtifact"
		if p.made != nil && p.made.Reason != "" {
			reason = p.made.Reason
		}
		p.record(p.obj, about, normal, reason, p.told())
	case p.hadFailed():
		p.record(p.obj, about, normal, kube.ReasonSucceeded, p.told())
	}
}

// told is what an Event says of the artifact.
func (p *pass) told() string {
	if p.made != nil && p.made.Told != "" {
		return p.made.Told
	}
	return meta.FindStatusCondition(*p.state.Conditions, sourcev1.ArtifactInStorageCondition).Message
}

// publish makes the newest event of the source say what its status says.
func (p *pass) publish(ctx context.Context, failed *source.Error) error {
	if failed != nil {
		return p.publishFailed(ctx, failed)
	}
	return publish.Changed(ctx, p.bus, p.changed())
}

func (p *pass) changed() events.SourceChanged {
	artifact, previous := p.artifact(), ""
	if was := *p.was.Artifact; was != nil && was.Revision != artifact.Revision {
		previous = was.Revision
	}
	data := events.SourceChanged{
		Source: p.key, UID: string(p.obj.GetUID()), Revision: artifact.Revision, PreviousRevision: previous,
		OriginRevision: artifact.Metadata[source.OriginRevision],
		Digest:         artifact.Digest, Artifact: shelf.BlobName(p.key, artifact.Digest), Path: artifact.Path,
	}
	if artifact.Size != nil {
		data.Size = *artifact.Size
	}
	if p.made != nil {
		data.Summary = p.made.Summary
	}
	return data
}

func (p *pass) publishFailed(ctx context.Context, failed *source.Error) error {
	now := events.SourceFailed{
		Source: p.key, UID: string(p.obj.GetUID()), Reason: failed.Reason, Message: message(failed), Stalled: failed.Stalled,
	}
	return publish.Failed(ctx, p.bus, now)
}

// tidy deletes artifacts that are neither current nor recent, after a new one
// was stored. What it cannot delete the next one takes, or the sweep.
func (p *pass) tidy(ctx context.Context) {
	if p.why == "" {
		return
	}
	was := ""
	if artifact := *p.was.Artifact; artifact != nil {
		was = artifact.Digest
	}
	if err := p.shelf.Tidy(ctx, p.key, p.artifact().Digest, was, p.config.Keep); err != nil {
		p.config.Logger.Warn("cannot delete old artifacts", "kind", p.key.Kind, "namespace", p.key.Namespace, "name", p.key.Name, "error", err)
	}
}
