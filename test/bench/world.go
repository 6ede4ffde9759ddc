package main

import (
	"context"
	"strings"

	"github.com/sluice-gitops/sluice/test/controlplane"
	"github.com/sluice-gitops/sluice/test/gitserver"
	"github.com/sluice-gitops/sluice/test/harness"
)

// token is the shared secret of the benchmark's webhook; the benchmark is its only user.
const token = "benchmark-only-token"

// world is everything the benchmark works with.
type world struct {
	*harness.World
	n      int
	bare   *bare
	repo   *gitserver.Repo
	commit string
	// profiles is the folder for processor profiles; "" keeps none.
	profiles string
}

// setUp starts a world with a repository of n applications.
func setUp(ctx context.Context, n int, progress *progress, flags ...string) (*world, error) {
	return setUpWith(ctx, n, tree(n, "1"), progress, flags...)
}

// setUpWith starts a world whose repository has files.
func setUpWith(ctx context.Context, n int, files map[string]string, progress *progress, flags ...string) (*world, error) {
	base, err := harness.NewWorld(ctx, harness.WorldOptions{
		Plane: controlplane.Options{
			NoNodes: true, RequestLog: true,
			APIServerFlags: []string{"--service-cluster-ip-range=10.96.0.0/14"},
		},
		Progress: progress, Token: token, SluiceArgs: flags,
	})
	if err != nil {
		return nil, err
	}
	w := &world{World: base, n: n}
	if err := w.fill(ctx, files); err != nil {
		return w, err
	}
	return w, nil
}

func (w *world) fill(ctx context.Context, files map[string]string) (err error) {
	for _, name := range []string{controlNamespace, sluiceNamespace, bareNamespace} {
		if err := w.Namespace(ctx, name); err != nil {
			return err
		}
	}
	if err := w.Secret(ctx, controlNamespace, "bench-webhook", map[string]string{"token": token}); err != nil {
		return err
	}
	if w.bare, err = newBare(w.REST); err != nil {
		return err
	}
	if w.repo, err = w.Store.NewRepo(ctx, "bench"); err != nil {
		return err
	}
	return w.change(ctx, files, "Add the apps")
}

// createAll creates the source, the Receiver and all Kustomizations, in parallel.
func (w *world) createAll(ctx context.Context) error {
	objects, err := harness.Objects([]byte(manifests(w.n, w.HTTP.URL(w.repo))))
	if err != nil {
		return err
	}
	for _, u := range objects {
		u.SetNamespace(controlNamespace)
	}
	_, err = w.bare.apply(ctx, objects)
	return err
}

func (w *world) change(ctx context.Context, files map[string]string, message string) (err error) {
	w.commit, err = w.repo.Commit(ctx, harness.Branch, message, files)
	return err
}

func (w *world) hook(ctx context.Context) error {
	return w.Hook(ctx, controlNamespace, "bench", w.commit)
}

func (w *world) revision() string { return harness.RevisionOf(strings.TrimSpace(w.commit)) }
