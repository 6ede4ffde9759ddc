package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/sluice-gitops/sluice/test/controlplane"
	"github.com/sluice-gitops/sluice/test/gitserver"
	"github.com/sluice-gitops/sluice/test/harness"
)

//go:embed sample
var sample embed.FS

//go:embed sync.yaml
var syncManifest []byte

// token is the shared secret of the demo's webhook; the demo is its only user.
const token = "demo-only-token"

// world is everything the demo works with.
type world struct {
	*harness.World
	repo   *gitserver.Repo
	commit string
}

func setUp(ctx context.Context, s *screen, set settings) (*world, error) {
	if set.kubeconfig == "" {
		s.title("Start a Kubernetes control plane, sluice and a Git server")
		s.note("etcd, kube-apiserver, kube-controller-manager, kube-scheduler and simulated nodes are built\nfrom source the first time: that takes minutes and is kept in your cache folder.")
	} else {
		s.title("Start sluice and a Git server, on the cluster of %s", set.kubeconfig)
	}
	w := &world{}
	base, err := harness.NewWorld(ctx, harness.WorldOptions{
		Kubeconfig: set.kubeconfig, Plane: controlplane.Options{}, Progress: s, Token: token,
		Pushed: func(string) { w.pushed(ctx, s) },
	})
	if err != nil {
		return nil, err
	}
	w.World = base
	s.fact("sluice is ready: webhooks at %s, metrics at %s/metrics, NATS at %s", w.Sluice.Webhook, w.Sluice.Health, w.Sluice.NATS)
	return w, w.fill(ctx)
}

// fill makes the namespace, the webhook's secret and the repository.
func (w *world) fill(ctx context.Context) error {
	if err := w.Namespace(ctx, controlNamespace); err != nil {
		return err
	}
	if err := w.Secret(ctx, controlNamespace, "demo-webhook", map[string]string{"token": token}); err != nil {
		return err
	}
	repo, err := w.Store.NewRepo(ctx, "demo")
	if err != nil {
		return err
	}
	w.repo = repo
	files := map[string]string{}
	err = fs.WalkDir(sample, "sample", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := sample.ReadFile(path)
		files[strings.TrimPrefix(path, "sample/")] = string(body)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the sample: %w", err)
	}
	return w.change(ctx, files, "Add the sample apps")
}

// change commits files to the branch.
func (w *world) change(ctx context.Context, files map[string]string, message string) (err error) {
	w.commit, err = w.repo.Commit(ctx, harness.Branch, message, files)
	return err
}

// remove deletes a file from the branch.
func (w *world) remove(ctx context.Context, path, message string) (err error) {
	w.commit, err = w.repo.Delete(ctx, harness.Branch, message, path)
	return err
}

func (w *world) hook(ctx context.Context) error {
	return w.Hook(ctx, controlNamespace, "demo", w.commit)
}

// pushed sends the hook after a push of the one who plays, as a Git host does.
func (w *world) pushed(ctx context.Context, s *screen) {
	commit, err := w.repo.Head(ctx, harness.Branch)
	if err == nil {
		err = w.Hook(ctx, controlNamespace, "demo", commit)
	}
	if err != nil {
		s.note("a push came, the webhook could not be told: %v", err)
		return
	}
	s.note("a push came, and the webhook was told: %s", short(harness.RevisionOf(commit)))
}

func (w *world) hookURL() string {
	return w.Sluice.Webhook + harness.HookPath(token, "demo", controlNamespace)
}

func (w *world) revision() string { return harness.RevisionOf(w.commit) }

// invite says where everything is, for those who keep it running.
func (w *world) invite(s *screen) {
	s.title("Yours to play with until you press Ctrl-C")
	s.note("export KUBECONFIG=%s\nkubectl -n %s get gitrepositories,kustomizations", w.Kubeconfig, controlNamespace)
	s.note("git clone %s demo && cd demo\nsed -i 's/title: .*/title: \"Mine\"/' apps/frontend/base/settings.yaml\n"+
		"git commit -am 'Make it mine' && git push    # the webhook is told\nkubectl -n %s get configmap frontend-page -o yaml",
		w.HTTP.URL(w.repo), appNamespace)
	s.note("webhook:   %s (type github, token %s)\nartifacts: %s\nmetrics:   %s/metrics\nNATS:      %s (user audit, password in %s/nats-users/audit)\nlog:       %s",
		w.hookURL(), token, w.Sluice.Artifacts, w.Sluice.Health, w.Sluice.NATS, w.Sluice.Data(), w.Sluice.Log())
}
