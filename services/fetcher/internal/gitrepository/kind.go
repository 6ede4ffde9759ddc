// Package gitrepository is the kind GitRepository: its spec as what package git
// understands, and its commits as artifacts.
package gitrepository

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

const (
	reasonEmpty    = "EmptyGitRepository"
	defaultTimeout = 60 * time.Second
)

// remotes reads Git repositories.
type remotes interface {
	Connect(ctx context.Context, remote git.Remote) (*git.Listing, error)
}

// Kind implements source.Kind.
type Kind struct {
	remotes remotes
	live    client.Reader
	entries int
}

// New returns the kind. It reads Secrets from live; a commit with more than entries
// files and folders is refused.
func New(remotes *git.Client, live client.Reader, entries int) *Kind {
	return &Kind{remotes: remotes, live: live, entries: entries}
}

// Name implements source.Kind.
func (*Kind) Name() string { return strings.ToLower(sourcev1.GitRepositoryKind) }

// New implements source.Kind.
func (*Kind) New() source.Object { return &sourcev1.GitRepository{} }

// List implements source.Kind.
func (*Kind) List() client.ObjectList { return &sourcev1.GitRepositoryList{} }

// State implements source.Kind.
func (*Kind) State(obj source.Object) source.State {
	o := obj.(*sourcev1.GitRepository)
	return source.State{
		Suspend: o.Spec.Suspend, Interval: o.Spec.Interval.Duration, Timeout: timeout(o.Spec),
		Conditions: &o.Status.Conditions, ObservedGeneration: &o.Status.ObservedGeneration,
		Handled: &o.Status.LastHandledReconcileAt, Artifact: &o.Status.Artifact,
	}
}

// Needs implements source.Kind.
func (*Kind) Needs(source.Object) []events.Key { return nil }

// Observe implements source.Kind.
func (*Kind) Observe(obj source.Object) {
	o := obj.(*sourcev1.GitRepository)
	o.Status.ObservedIgnore = o.Spec.Ignore
}

// Open implements source.Kind. It lists the remote references, and keeps the
// connection for the download.
func (k *Kind) Open(ctx context.Context, _ events.Key, obj source.Object) (*source.Upstream, error) {
	o := obj.(*sourcev1.GitRepository)
	if err := unsupported(o.Spec); err != nil {
		return nil, err
	}
	remote, err := k.remote(ctx, o)
	if err != nil {
		return nil, err
	}
	listing, err := k.remotes.Connect(ctx, remote)
	if err != nil {
		return nil, failed(ctx, err)
	}
	target, err := listing.Resolve(ctx, reference(o.Spec.Reference))
	if err != nil {
		_ = listing.Close() // it was only read
		return nil, failed(ctx, err)
	}
	upstream := &source.Upstream{
		Revision: target.Revision, Close: listing.Close,
		Fetch: func(ctx context.Context) (*source.Content, error) { return k.fetch(ctx, o, listing, target) },
	}
	if !equal(o.Status.ObservedIgnore, o.Spec.Ignore) {
		upstream.Changed = "ignore rules changed"
	}
	return upstream, nil
}

func (k *Kind) fetch(ctx context.Context, o *sourcev1.GitRepository, listing *git.Listing, target git.Target) (*source.Content, error) {
	commit, err := listing.Fetch(ctx, target)
	if err != nil {
		return nil, failed(ctx, err)
	}
	content, err := k.content(ctx, o, commit)
	if err != nil {
		commit.Close()
		return nil, source.StorageFailed(sourcev1.ArchiveOperationFailedReason, fmt.Errorf("unable to archive artifact to storage: %w", discard(commit, err)))
	}
	return content, nil
}

func (k *Kind) content(ctx context.Context, o *sourcev1.GitRepository, commit *git.Commit) (*source.Content, error) {
	found, err := commit.Files(ctx, k.entries)
	if err != nil {
		return nil, err
	}
	files := make([]pack.File, len(found))
	for i, f := range found {
		files[i] = pack.File{Path: f.Path, Dir: f.Dir, Executable: f.Executable, Open: f.Open}
	}
	ignore, err := pack.ReadIgnore(files, o.Spec.Ignore)
	if err != nil {
		return nil, err
	}
	content := &source.Content{
		File: commit.Hash + ".tar.gz", Files: files, Ignore: ignore, Summary: summary(commit.Message), Close: commit.Close,
		Broken: func(err error) error { return discard(commit, err) },
	}
	if content.Summary != "" {
		content.Told = fmt.Sprintf("stored artifact for commit '%s'", content.Summary)
	}
	return content, nil
}

// discard drops the mirror when the error says that it is damaged.
func discard(commit *git.Commit, err error) error {
	if git.Broken(err) {
		return errors.Join(err, commit.Discard())
	}
	return err
}

func failed(ctx context.Context, err error) error {
	if errors.Is(err, git.ErrEmpty) {
		return source.FetchFailed(reasonEmpty, git.ErrEmpty)
	}
	return source.FetchFailed(sourcev1.GitOperationFailedReason,
		fmt.Errorf("failed to checkout and determine revision: %w", source.Cause(ctx, err)))
}

func equal(a, b *string) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// summary is the first line of a commit message, 50 characters at most.
func summary(message string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	if runes := []rune(line); len(runes) > 50 {
		return string(runes[:50]) + "..."
	}
	return line
}
