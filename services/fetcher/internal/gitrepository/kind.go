// Package gitrepository is the kind GitRepository: its spec as what package git
// understands, and its commits as artifacts.
package gitrepository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/githubapp"
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
	Transport(remote git.Remote) (http.RoundTripper, error)
}

// Config of the kind. All of it is required.
type Config struct {
	// Limits of one artifact.
	Limits pack.Limits
	// Scratch is a folder for what is included while it is read.
	Scratch string
	// Artifact opens a stored artifact of another source; what it reads is verified
	// when the end is reached.
	Artifact func(ctx context.Context, key events.Key, digest string) (io.ReadCloser, error)
	// Identities are asked for the credentials of a cloud provider.
	Identities *identity.Client
}

// Kind implements source.Kind.
type Kind struct {
	remotes remotes
	live    client.Reader
	config  Config
	tokens  githubapp.Tokens
}

// New returns the kind. It reads Secrets and included objects from live.
func New(remotes *git.Client, live client.Reader, config Config) *Kind {
	return &Kind{remotes: remotes, live: live, config: config}
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
		Handled: &o.Status.LastHandledReconcileAt, Artifact: &o.Status.Artifact, Host: source.HostOf(o.Spec.URL),
		Road:     source.RoadOf(o.Spec.ServiceAccountName, o.Spec.SecretRef, o.Spec.ProxySecretRef),
		Negative: []string{sourcev1.IncludeUnavailableCondition},
	}
}

// Needs implements source.Kind: it names what the object includes.
func (k *Kind) Needs(obj source.Object) []events.Key {
	o := obj.(*sourcev1.GitRepository)
	var keys []events.Key
	for _, include := range o.Spec.Include {
		keys = append(keys, events.NewKey(k.Name(), o.Namespace, include.GitRepositoryRef.Name))
	}
	return keys
}

// Observe implements source.Kind.
func (*Kind) Observe(obj source.Object) {
	o := obj.(*sourcev1.GitRepository)
	o.Status.ObservedIgnore = o.Spec.Ignore
	o.Status.ObservedSparseCheckout = o.Spec.SparseCheckout
	o.Status.ObservedInclude = o.Spec.Include
	o.Status.ObservedRecurseSubmodules = o.Spec.RecurseSubmodules
	if len(o.Spec.Include) == 0 {
		o.Status.IncludedArtifacts = nil
	}
	o.Status.SourceVerificationMode = nil
	if v := o.Spec.Verification; v != nil {
		mode := v.GetMode()
		o.Status.SourceVerificationMode = &mode
	}
}

// Open implements source.Kind. It lists the remote references, and keeps the
// connection for the download.
func (k *Kind) Open(ctx context.Context, _ events.Key, obj source.Object) (*source.Upstream, error) {
	o := obj.(*sourcev1.GitRepository)
	remote, err := k.remote(ctx, o)
	if err != nil {
		return nil, err
	}
	listing, err := k.remotes.Connect(ctx, remote)
	switch {
	case errors.Is(err, git.ErrSHA256):
		return nil, source.Stalled(sourcev1.GitOperationFailedReason, fmt.Errorf("failed to checkout and determine revision: %w: "+
			"make a copy of it with 'git init --object-format=sha1' and name that in spec.url", err))
	case err != nil:
		return nil, failed(ctx, err)
	}
	upstream, err := k.resolve(ctx, o, listing)
	if err != nil {
		_ = listing.Close() // it was only read
		return nil, err
	}
	upstream.Close = listing.Close
	return upstream, nil
}

func (k *Kind) resolve(ctx context.Context, o *sourcev1.GitRepository, listing *git.Listing) (*source.Upstream, error) {
	target, err := listing.Resolve(ctx, reference(o.Spec.Reference))
	if err != nil {
		return nil, failed(ctx, err)
	}
	if err := k.verify(ctx, o, listing, target); err != nil {
		return nil, err
	}
	includes, err := k.includes(ctx, o)
	if err != nil {
		return nil, err
	}
	upstream := &source.Upstream{
		Revision: target.Revision,
		Fetch: func(ctx context.Context) (*source.Content, error) {
			return k.fetch(ctx, o, listing, target, includes)
		},
	}
	switch {
	case !equal(o.Status.ObservedIgnore, o.Spec.Ignore):
		upstream.Changed = "ignore rules changed"
	case !slices.Equal(o.Status.ObservedSparseCheckout, o.Spec.SparseCheckout):
		upstream.Changed = "directories of the sparse checkout changed"
	case o.Status.ObservedRecurseSubmodules != o.Spec.RecurseSubmodules:
		upstream.Changed = "recursion into submodules changed"
	case !slices.Equal(o.Status.ObservedInclude, o.Spec.Include), includesChanged(o, includes):
		upstream.Changed, upstream.Outdated = "included artifacts differ from last observed includes", reasonIncludeChange
	}
	return upstream, nil
}

func (k *Kind) fetch(ctx context.Context, o *sourcev1.GitRepository, listing *git.Listing, target git.Target, includes []include) (*source.Content, error) {
	commit, err := listing.Fetch(ctx, target)
	if err != nil {
		return nil, failed(ctx, err)
	}
	content, err := k.content(ctx, o, commit, includes)
	if err == nil {
		return content, nil
	}
	var known *source.Error
	if !errors.As(err, &known) {
		err = source.StorageFailed(sourcev1.ArchiveOperationFailedReason, fmt.Errorf("unable to archive artifact to storage: %w", discard(commit, err)))
	}
	commit.Close()
	return nil, err
}

func (k *Kind) content(ctx context.Context, o *sourcev1.GitRepository, commit *git.Commit, includes []include) (*source.Content, error) {
	files, err := k.files(ctx, o, commit)
	if err != nil {
		return nil, err
	}
	files, done, err := k.copyIncludes(ctx, o.Namespace, files, includes)
	if err != nil {
		return nil, err
	}
	ignore, err := pack.ReadIgnore(files, o.Spec.Ignore)
	if err != nil {
		done()
		return nil, source.StorageFailed("SourceIgnoreError", discard(commit, err))
	}
	content := &source.Content{
		File: commit.Hash + ".tar.gz", Files: files, Ignore: ignore, Summary: summary(commit.Message),
		Stored: func() { o.Status.IncludedArtifacts = artifactsOf(includes) },
		Broken: func(err error) error { return discard(commit, err) },
		Close: func() {
			done()
			commit.Close()
		},
	}
	if content.Summary != "" {
		content.Told = fmt.Sprintf("stored artifact for commit '%s'", content.Summary)
	}
	return content, nil
}

// files are those of the commit, or of the folders of it that the object names.
func (k *Kind) files(ctx context.Context, o *sourcev1.GitRepository, commit *git.Commit) ([]pack.File, error) {
	var dirs []string
	for _, dir := range o.Spec.SparseCheckout {
		clean, err := pack.Within(dir)
		if err != nil {
			return nil, sparseFailed(err)
		}
		dirs = append(dirs, clean)
	}
	found, err := commit.Files(ctx, k.config.Limits.Entries, dirs...)
	var missing *fs.PathError
	switch {
	case len(dirs) > 0 && errors.As(err, &missing):
		return nil, sparseFailed(missing)
	case err != nil:
		return nil, err
	}
	if o.Spec.RecurseSubmodules {
		ask := func(url string) error { return source.Ask(ctx, source.HostOf(url), k.State(o).Road) }
		if found, err = commit.Recurse(ctx, found, k.config.Limits.Entries, ask); err != nil {
			return nil, failed(ctx, discard(commit, err))
		}
	}
	files := make([]pack.File, len(found))
	for i, f := range found {
		files[i] = pack.File{Path: f.Path, Dir: f.Dir, Executable: f.Executable, Open: f.Open}
	}
	return files, nil
}

func sparseFailed(err error) error {
	return source.FetchFailed(sourcev1.GitOperationFailedReason, fmt.Errorf("failed to sparse checkout directories : %w", err))
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
