package handle

import (
	"context"
	"slices"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
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
	now := p.changed("")
	return p.append(ctx, p.key, func(log *bus.Log) bool {
		last, ok := lastEvent[events.SourceChanged](log)
		return ok && last.UID == now.UID && last.Revision == now.Revision && last.Digest == now.Digest && last.Artifact == now.Artifact
	}, func(log *bus.Log) events.Data {
		last, ok := lastEvent[events.SourceChanged](log)
		if ok && last.UID == now.UID && last.Revision != now.Revision {
			return p.changed(last.Revision)
		}
		return now
	})
}

func (p *pass) changed(previous string) events.SourceChanged {
	artifact := p.artifact()
	if was := *p.was.Artifact; previous == "" && was != nil && was.Revision != artifact.Revision {
		previous = was.Revision
	}
	data := events.SourceChanged{
		Source: p.key, UID: string(p.obj.GetUID()), Revision: artifact.Revision, PreviousRevision: previous,
		OriginRevision: artifact.Metadata[originRevision],
		Digest:         artifact.Digest, Artifact: BlobName(p.key, artifact.Digest), Path: artifact.Path,
	}
	if artifact.Size != nil {
		data.Size = *artifact.Size
	}
	if p.made != nil {
		data.Summary = p.made.Summary
	}
	return data
}

// originRevision in an artifact's metadata names the revision it was made from
// (OCI image specification, annotations).
const originRevision = "org.opencontainers.image.revision"

func (p *pass) publishFailed(ctx context.Context, failed *source.Error) error {
	now := events.SourceFailed{
		Source: p.key, UID: string(p.obj.GetUID()), Reason: failed.Reason, Message: message(failed), Stalled: failed.Stalled,
	}
	return p.append(ctx, p.key,
		func(log *bus.Log) bool { last, ok := lastEvent[events.SourceFailed](log); return ok && last == now },
		func(*bus.Log) events.Data { return now })
}

// tidy deletes artifacts that are neither current nor recent, after a new one
// was stored. What it cannot delete the next one takes, or the sweep.
func (p *pass) tidy(ctx context.Context) {
	if p.why == "" {
		return
	}
	objects, err := p.blobs.List(ctx, Prefix(p.key))
	if err != nil {
		p.config.Logger.Warn("cannot list old artifacts", "kind", p.key.Kind, "namespace", p.key.Namespace, "name", p.key.Name, "error", err)
		return
	}
	keep := BlobName(p.key, p.artifact().Digest)
	objects = slices.DeleteFunc(objects, func(o blob.Object) bool { return o.Name == keep })
	slices.SortFunc(objects, func(a, b blob.Object) int { return b.Modified.Compare(a.Modified) })
	for _, object := range objects[min(len(objects), p.config.Keep):] {
		if err := p.blobs.Delete(ctx, object.Name); err != nil {
			p.config.Logger.Warn("cannot delete an old artifact", "kind", p.key.Kind, "namespace", p.key.Namespace, "name", p.key.Name, "error", err)
		}
	}
}
