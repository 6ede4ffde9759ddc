package handle

import (
	"context"
	"fmt"
	"slices"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
)

// announce writes the Kubernetes Event of the outcome, if there is news.
func (p *pass) announce(failed *failure) {
	if failed != nil {
		p.record(p.obj, nil, warning, failed.reason, failed.message())
		return
	}
	artifact := p.obj.Status.Artifact
	message := fmt.Sprintf("stored artifact for revision '%s'", artifact.Revision)
	if p.summary != "" {
		message = fmt.Sprintf("stored artifact for commit '%s'", p.summary)
	}
	about := map[string]string{
		sourcev1.GroupVersion.Group + "/revision": artifact.Revision,
		sourcev1.GroupVersion.Group + "/digest":   artifact.Digest,
	}
	switch {
	case p.old.Status.Artifact == nil || p.old.Status.Artifact.Digest != artifact.Digest:
		p.record(p.obj, about, normal, "NewArtifact", message)
	case p.hadFailed():
		p.record(p.obj, about, normal, kube.ReasonSucceeded, message)
	}
}

// publish makes the newest event of the source say what its status says.
func (p *pass) publish(ctx context.Context, failed *failure) error {
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
	artifact := p.obj.Status.Artifact
	if was := p.old.Status.Artifact; previous == "" && was != nil && was.Revision != artifact.Revision {
		previous = was.Revision
	}
	data := events.SourceChanged{
		Source: p.key, UID: string(p.obj.UID), Revision: artifact.Revision, PreviousRevision: previous,
		Digest: artifact.Digest, Artifact: BlobName(p.key, artifact.Digest), Summary: p.summary,
	}
	if artifact.Size != nil {
		data.Size = *artifact.Size
	}
	return data
}

func (p *pass) publishFailed(ctx context.Context, failed *failure) error {
	now := events.SourceFailed{
		Source: p.key, UID: string(p.obj.UID), Reason: failed.reason, Message: failed.message(), Stalled: failed.stalled,
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
	keep := BlobName(p.key, p.obj.Status.Artifact.Digest)
	objects = slices.DeleteFunc(objects, func(o blob.Object) bool { return o.Name == keep })
	slices.SortFunc(objects, func(a, b blob.Object) int { return b.Modified.Compare(a.Modified) })
	for _, object := range objects[min(len(objects), p.config.Keep):] {
		if err := p.blobs.Delete(ctx, object.Name); err != nil {
			p.config.Logger.Warn("cannot delete an old artifact", "kind", p.key.Kind, "namespace", p.key.Namespace, "name", p.key.Name, "error", err)
		}
	}
}
