package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

const (
	apps = 4
	// pushes are made while containers are killed, one each pause.
	pushes = 24
	pause  = 700 * time.Millisecond
	// settle is how long the last push may take, restarts included.
	settle = 3 * time.Minute
)

func app(i int) string  { return fmt.Sprintf("app-%d", i) }
func file(i int) string { return app(i) + "/settings.yaml" }

func content(i, push int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {push: %q}\n", app(i), fmt.Sprint(push))
}

func (s *stack) prove(ctx context.Context) (err error) {
	start := time.Now()
	if err := s.up(ctx, 1); err != nil {
		return err
	}
	say("every container is healthy after %s", since(start))
	w, err := s.world(ctx)
	if err != nil {
		return err
	}
	// the cluster goes with the stack; only the Git server and the folder are ours to close
	defer func() { err = errors.Join(err, w.HTTP.Close(), w.Store.Close()) }()
	tenant, err := s.tenant(ctx, w)
	if err != nil {
		return err
	}
	start = time.Now()
	if err := push(ctx, tenant, 0, 1); err != nil {
		return err
	}
	if err := tenant.Live(ctx, app(0)); err != nil {
		return err
	}
	say("a push is live after %s", since(start))

	start = time.Now()
	if err := s.up(ctx, scale); err != nil {
		return err
	}
	say("the builder has %d replicas after %s", scale, since(start))
	return s.storm(ctx, tenant)
}

func (s *stack) tenant(ctx context.Context, w *harness.World) (*harness.Tenant, error) {
	files := map[string]string{}
	for i := range apps {
		files[file(i)] = content(i, 0)
	}
	tenant, err := w.NewTenant(ctx, "compose", files)
	if err != nil {
		return nil, err
	}
	tenant.Webhook = s.webhook
	var all []string
	for i := range apps {
		all = append(all, app(i))
		if err := tenant.Kustomization(ctx, app(i), map[string]any{"path": "./" + app(i)}); err != nil {
			return nil, err
		}
	}
	return tenant, tenant.Live(ctx, all...)
}

func push(ctx context.Context, tenant *harness.Tenant, i, number int) error {
	return tenant.Push(ctx, map[string]string{file(i): content(i, number)})
}

// storm pushes while one container of each service is killed after another, and
// checks the end: Git's newest state in the cluster, every event in the log.
func (s *stack) storm(ctx context.Context, tenant *harness.Tenant) error {
	newest := [apps]int{1}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for number := 2; number < 2+pushes; number++ {
			i := number % apps
			if err := push(groupCtx, tenant, i, number); err != nil {
				return err
			}
			newest[i] = number
			select {
			case <-tick.C:
			case <-groupCtx.Done():
				return groupCtx.Err()
			}
		}
		return nil
	})
	group.Go(func() error {
		tick := time.NewTicker(pause * pushes / (time.Duration(len(names)) + 1))
		defer tick.Stop()
		for _, name := range names {
			select {
			case <-tick.C:
			case <-groupCtx.Done():
				return groupCtx.Err()
			}
			if err := s.kill(groupCtx, name); err != nil {
				return err
			}
			say("killed a container of %s", name)
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	start := time.Now()
	bounded, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	if err := settled(bounded, tenant, newest); err != nil {
		return err
	}
	say("%d pushes; the cluster equals Git %s after the last one", pushes, since(start))
	for _, name := range names {
		want := 1
		if name == "builder" {
			want = scale
		}
		if err := s.healthy(bounded, name, want); err != nil {
			return err
		}
	}
	count, err := complete(bounded, s)
	if err != nil {
		return err
	}
	say("the log has all of its %d events, and every container is healthy again", count)
	return nil
}

func settled(ctx context.Context, tenant *harness.Tenant, newest [apps]int) error {
	for i := range apps {
		if err := tenant.Live(ctx, app(i)); err != nil {
			return err
		}
		u, err := tenant.Cluster.Get(ctx, harness.ConfigMapKind, tenant.Namespace, app(i))
		if err != nil {
			return err
		}
		got, _, err := unstructured.NestedString(u.Object, "data", "push")
		if err != nil || got != fmt.Sprint(newest[i]) {
			return errors.Join(err, fmt.Errorf("%s has push %q, Git has %d", app(i), got, newest[i]))
		}
	}
	return nil
}

// complete reads the log from its beginning and checks that no sequence number is missing.
func complete(ctx context.Context, s *stack) (int, error) {
	log, err := harness.OpenLog(s.nats, asUser("audit")...)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	entries, err := log.Read(ctx)
	if err != nil {
		return 0, err
	}
	for i, e := range entries {
		if e.Err != nil {
			return 0, fmt.Errorf("message %d on %s is no event: %w", e.Sequence, e.Subject, e.Err)
		}
		if i > 0 && e.Sequence != entries[i-1].Sequence+1 {
			return 0, fmt.Errorf("message %d comes after %d", e.Sequence, entries[i-1].Sequence)
		}
	}
	if len(entries) < pushes {
		return 0, fmt.Errorf("the log has only %d events after %d pushes", len(entries), pushes)
	}
	return len(entries), nil
}

func since(start time.Time) time.Duration { return time.Since(start).Round(time.Millisecond) }
