package handle

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// thorough says that somebody asked for this very pass, by an annotation or by a
// check that names damage.
func (p *pass) thorough() bool {
	return p.note.Reason == bus.ReasonCorrupt || p.old.GetAnnotations()[kube.RequestedAt] != *p.was.Handled
}

// reasonToBuild says why the artifact must be built, or nothing if it is what the
// revision and the spec ask for.
func (p *pass) reasonToBuild(upstream *source.Upstream) string {
	artifact := p.artifact()
	switch {
	case artifact == nil && *p.was.Artifact != nil:
		return disappeared
	case artifact != nil && artifact.Revision == upstream.Revision:
		if upstream.Changed != "" && upstream.Outdated != "" {
			p.conditions().Set(sourcev1.ArtifactOutdatedCondition, metav1.ConditionTrue, upstream.Outdated, upstream.Changed)
		}
		return upstream.Changed
	}
	news, reason := upstream.News, upstream.Reason
	if news == "" {
		news = "new upstream revision '" + upstream.Revision + "'"
	}
	if reason == "" {
		reason = "NewRevision"
	}
	if artifact != nil {
		p.conditions().Set(sourcev1.ArtifactOutdatedCondition, metav1.ConditionTrue, reason, news)
	}
	return news
}

// build stores content as the artifact of a revision and puts it into the status.
func (p *pass) build(ctx context.Context, content *source.Content, revision string) error {
	stored, err := p.archive(ctx, content)
	if err != nil {
		if content.Broken != nil {
			err = content.Broken(err)
		}
		return source.StorageFailed(sourcev1.ArchiveOperationFailedReason, fmt.Errorf("unable to archive artifact to storage: %w", err))
	}
	p.made = content
	file := content.File
	if before := *p.was.Artifact; before != nil && before.Revision == revision && before.Digest != stored.Digest {
		// Who still has the status of before must not get this one in its place.
		file = shelf.Marked(file, stored.Digest)
	}
	path := shelf.Path(p.key, file)
	*p.state.Artifact = &meta.Artifact{
		Path: path, URL: p.url(path), Revision: revision, Digest: stored.Digest, Size: &stored.Size,
		LastUpdateTime: metav1.NewTime(time.Now()), Metadata: content.Metadata,
	}
	if p.state.URL != nil {
		*p.state.URL = p.url(shelf.Path(p.key, p.state.Link))
	}
	if content.Stored != nil {
		content.Stored()
	}
	return nil
}

// archive writes the content to storage.
func (p *pass) archive(ctx context.Context, content *source.Content) (pack.Result, error) {
	if content.Raw != nil {
		return p.shelf.Copy(ctx, p.key, content.Raw, "")
	}
	return p.shelf.Archive(ctx, p.key, content.Files, content.Ignore)
}

func (p *pass) url(path string) string { return "http://" + p.config.AdvertisedHost + "/" + path }

// refreshURL follows a change of the advertised host.
func (p *pass) refreshURL() {
	a := p.artifact()
	if a == nil {
		return
	}
	if url := p.url(a.Path); a.URL != url {
		a.URL = url
	}
	if p.state.URL != nil {
		*p.state.URL = p.url(shelf.Path(p.key, p.state.Link))
	}
}
