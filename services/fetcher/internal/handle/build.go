package handle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/spool"
)

// NoteCorrupt as the reason of a check asks for the stored artifact to be read
// through, by somebody who found it damaged.
const NoteCorrupt = "corrupt"

// thorough says that somebody asked for this very pass, by an annotation or by a
// check that names damage.
func (p *pass) thorough() bool {
	return p.note.Reason == NoteCorrupt || p.old.Annotations[kube.RequestedAt] != p.old.Status.LastHandledReconcileAt
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
func (p *pass) reasonToBuild(revision string) string {
	artifact := p.obj.Status.Artifact
	switch {
	case artifact == nil && p.old.Status.Artifact != nil:
		return disappeared
	case artifact == nil || artifact.Revision != revision:
		if artifact != nil {
			p.conditions().Set(sourcev1.ArtifactOutdatedCondition, metav1.ConditionTrue, "NewRevision", "new upstream revision '"+revision+"'")
		}
		return "new upstream revision '" + revision + "'"
	case !equalIgnore(p.obj.Status.ObservedIgnore, p.obj.Spec.Ignore):
		return "ignore rules changed"
	}
	return ""
}

func equalIgnore(a, b *string) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// build packs a commit, stores the archive and puts it into the status.
func (p *pass) build(ctx context.Context, commit *git.Commit, revision string) *failure {
	archived, err := p.archive(ctx, commit)
	if err != nil {
		if git.Broken(err) {
			err = errors.Join(err, commit.Discard())
		}
		return storageFailed(sourcev1.ArchiveOperationFailedReason, fmt.Errorf("unable to archive artifact to storage: %w", err))
	}
	p.summary = summary(commit.Message)
	p.obj.Status.Artifact = &meta.Artifact{
		Path: Path(p.key, commit.Hash), URL: p.url(Path(p.key, commit.Hash)), Revision: revision,
		Digest: archived.Digest, Size: &archived.Size, LastUpdateTime: metav1.NewTime(time.Now()),
	}
	return nil
}

// archive writes the commit's files to storage, by way of a spool, so that no large
// archive need fit in memory.
func (p *pass) archive(ctx context.Context, commit *git.Commit) (result pack.Result, err error) {
	found, err := commit.Files(ctx, p.config.Limits.Entries)
	if err != nil {
		return pack.Result{}, err
	}
	files := make([]pack.File, len(found))
	for i, f := range found {
		files[i] = pack.File{Path: f.Path, Dir: f.Dir, Executable: f.Executable, Open: f.Open}
	}
	ignore, err := pack.ReadIgnore(files, p.obj.Spec.Ignore)
	if err != nil {
		return pack.Result{}, err
	}
	scratch := spool.New(p.config.Scratch)
	defer func() { err = errors.Join(err, scratch.Close()) }()
	if result, err = pack.Archive(ctx, scratch, files, ignore, p.config.Limits); err != nil {
		return result, err
	}
	content, err := scratch.Content()
	if err != nil {
		return result, err
	}
	return result, p.put(ctx, content, result)
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

// summary is the first line of a commit message, 50 characters at most.
func summary(message string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	if runes := []rune(line); len(runes) > 50 {
		return string(runes[:50]) + "..."
	}
	return line
}

func (p *pass) url(path string) string { return "http://" + p.config.AdvertisedHost + "/" + path }

// refreshURL follows a change of the advertised host.
func (p *pass) refreshURL() {
	if a := p.obj.Status.Artifact; a != nil && a.URL != p.url(a.Path) {
		a.URL = p.url(a.Path)
	}
}
