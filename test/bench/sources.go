package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/gitserver"
	"github.com/sluice-gitops/sluice/test/harness"
)

// quietSources is what sources on one host cost while nothing changes.
type quietSources struct {
	n int
	// ready is the time from the first object to the last artifact.
	ready time.Duration
	idle
	// visits and fetches are requests to the Git server.
	visits, fetches int
}

// runSources prints what n GitRepositories of one host cost at an interval of a minute,
// each with a repository of its own in which nothing changes.
func runSources(ctx context.Context, n int, quiet time.Duration, write bool) (err error) {
	p := newProgress(os.Stderr)
	w, err := setUp(ctx, 1, p)
	if w != nil {
		defer func() { err = errors.Join(err, w.Close()) }()
	}
	if err != nil {
		return err
	}
	q, err := w.sources(ctx, n, quiet, p)
	if err != nil {
		return errors.Join(err, fmt.Errorf("the end of sluice's log:\n%s", w.Sluice.Tail()))
	}
	text := q.markdown()
	fmt.Print(text)
	return keepAbove(write, "sources.md", "# A large repository\n", text)
}

func (w *world) sources(ctx context.Context, n int, quiet time.Duration, p *progress) (quietSources, error) {
	q := quietSources{n: n}
	p.say("make %d repositories", n)
	var repos []*gitserver.Repo
	for i := range n {
		repo, err := w.Store.NewRepo(ctx, fmt.Sprintf("quiet-%04d", i))
		if err == nil {
			_, err = repo.Commit(ctx, harness.Branch, "The only commit", map[string]string{"app.yaml": fmt.Sprintf("number: %d\n", i)})
		}
		if err != nil {
			return q, err
		}
		repos = append(repos, repo)
	}
	p.say("create %d GitRepositories", n)
	start := time.Now()
	var objects []*unstructured.Unstructured
	for _, repo := range repos {
		objects = append(objects, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
			"metadata": map[string]any{"name": repo.Name, "namespace": controlNamespace},
			"spec":     map[string]any{"interval": "1m", "url": w.HTTP.URL(repo), "ref": map[string]any{"branch": harness.Branch}},
		}})
	}
	if _, err := w.bare.apply(ctx, objects); err != nil {
		return q, err
	}
	if err := w.allFetched(ctx, n); err != nil {
		return q, err
	}
	q.ready = time.Since(start)
	p.say("ready after %s; idle for %s", q.ready.Round(time.Millisecond), quiet)
	before := w.visits(repos)
	var err error
	if q.idle, err = w.rest(ctx, quiet); err != nil {
		return q, err
	}
	after := w.visits(repos)
	q.visits, q.fetches = after.Visits-before.Visits, after.Fetches-before.Fetches
	return q, nil
}

// allFetched waits until every source is Ready.
func (w *world) allFetched(ctx context.Context, n int) error {
	r, err := w.Cluster.Resource(harness.GitRepositoryKind, controlNamespace)
	if err != nil {
		return err
	}
	return harness.Until(ctx, time.Second, func(ctx context.Context) (bool, error) {
		list, err := r.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		ready := 0
		for i := range list.Items {
			if status, _, _ := harness.Condition(&list.Items[i], "Ready"); status == "True" && strings.HasPrefix(list.Items[i].GetName(), "quiet-") {
				ready++
			}
		}
		return ready == n, nil
	})
}

func (w *world) visits(repos []*gitserver.Repo) (sum gitserver.Counts) {
	for _, repo := range repos {
		c := w.Store.Counts(repo.Name)
		sum.Visits += c.Visits
		sum.Fetches += c.Fetches
	}
	return sum
}

func (q quietSources) markdown() string {
	minutes := q.span.Minutes()
	return fmt.Sprintf(`# Sources in which nothing changes

Made by `+"`make bench SOURCES=%d WRITE=1`"+`: %d GitRepositories of one host at an interval of a minute, each with a repository of its own,
on two processors that the API server and the Git server share. The whole `+"`sluice run`"+` is measured, with its NATS and S3.

| | |
|---|---|
| from the first object to the last artifact | %.1f s |
| listings a minute | %.0f |
| downloads | %d |
| requests to the API server, without watches | %d (%s) |
| processor | %.1f millicores, %.2f ms a look |
| memory | %d MiB |
`, q.n, q.n, q.ready.Seconds(), float64(q.visits)/minutes, q.fetches, total(q.requests), listing(q.requests),
		1000*q.cpu.Seconds()/q.span.Seconds(), 1000*q.cpu.Seconds()/float64(max(1, q.visits)), q.memory>>20)
}
