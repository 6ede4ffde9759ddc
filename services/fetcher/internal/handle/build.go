package handle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/spool"
)

// NoteCorrupt as the reason of a check asks for the stored artifact to be read
// through, by somebody who found it damaged.
const NoteCorrupt = "corrupt"

// thorough says that somebody asked for this very pass, by an annotation or by a
// check that names damage.
func (p *pass) thorough() bool {
	return p.note.Reason == NoteCorrupt || p.old.GetAnnotations()[kube.RequestedAt] != *p.was.Handled
}

func (p *pass) readThrough(ctx context.Context, name, digest string) error {
	body, err := p.blobs.Reader(ctx, name, digest)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, body)
	return err
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
	path := Path(p.key, content.File)
	*p.state.Artifact = &meta.Artifact{
		Path: path, URL: p.url(path), Revision: revision, Digest: stored.Digest, Size: &stored.Size,
		LastUpdateTime: metav1.NewTime(time.Now()), Metadata: content.Metadata,
	}
	if p.state.URL != nil {
		*p.state.URL = p.url(Path(p.key, p.state.Link))
	}
	if content.Stored != nil {
		content.Stored()
	}
	return nil
}

// archive writes the content to storage, by way of a spool, so that no large archive
// need fit in memory.
func (p *pass) archive(ctx context.Context, content *source.Content) (result pack.Result, err error) {
	scratch := spool.New(p.config.Scratch)
	defer func() { err = errors.Join(err, scratch.Close()) }()
	if content.Raw != nil {
		result, err = pack.Copy(ctx, scratch, content.Raw, p.config.Limits)
	} else {
		result, err = pack.Archive(ctx, scratch, content.Files, content.Ignore, p.config.Limits)
	}
	if err != nil {
		return result, err
	}
	body, err := scratch.Content()
	if err != nil {
		return result, err
	}
	return result, p.put(ctx, body, result)
}

// put stores an archive. Content under its own digest's name that is not it can
// only be damaged, and is replaced.
func (p *pass) put(ctx context.Context, body io.ReadSeeker, r pack.Result) error {
	name := BlobName(p.key, r.Digest)
	err := p.blobs.PutStream(ctx, name, body, r.Size, r.Digest)
	if errors.Is(err, blob.ErrExists) {
		if err = p.blobs.Delete(ctx, name); err == nil {
			err = p.blobs.PutStream(ctx, name, body, r.Size, r.Digest)
		}
	}
	return err
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
		*p.state.URL = p.url(Path(p.key, p.state.Link))
	}
}
