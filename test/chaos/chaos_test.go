package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/controlplane"
	"github.com/sluice-gitops/sluice/test/harness"
)

const (
	apps = 8
	// pause between two pushes and between two kills, at most.
	pushPause, killPause = 1200 * time.Millisecond, 5 * time.Second
	// downtime of a killed service, at most.
	downtime = 1500 * time.Millisecond
	// calm is how long everything may take to settle after the last push.
	calm = 2 * time.Minute
)

// Services that die at random lose no push, never go back to an older revision
// and leave a log without gaps. An artifact that a status names is there, whole, whenever
// the fetcher answers. In the end everything that the services keep is wiped under them.
// CHAOS_PUSHES sets the number of pushes (60; with fewer than 40 a service may never be
// killed, which fails), CHAOS_SEED repeats a run.
func TestChaos(t *testing.T) {
	pushes, seed := setting(t, "CHAOS_PUSHES", 60), setting(t, "CHAOS_SEED", int(time.Now().UnixNano()&0xffffffff))
	t.Logf("CHAOS_PUSHES=%d CHAOS_SEED=%d", pushes, seed)
	world := newWorld(t)
	g := newGround(t, world)
	all, base := g.services(t, services[:]...)
	tenant := newTenant(t, world, base)

	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(pushes)*pushPause+3*calm)
	defer cancel()
	admin := g.connect(t, "admin")
	var seen cluster
	var log subscriber
	var reader consumer
	watching, stopWatching := context.WithCancel(ctx)
	witnesses, watching := errgroup.WithContext(watching)
	witnesses.Go(func() error { return seen.watch(watching, world.Cluster, tenant.Namespace) })
	witnesses.Go(func() error { return log.follow(watching, admin) })
	witnesses.Go(func() error {
		return reader.read(watching, world.Cluster, harness.GitRepositoryKind, tenant.Namespace, harness.SourceName)
	})

	start := time.Now()
	newest, err := storm(watching, tenant, all, pushes, uint64(seed))
	if err != nil {
		stopWatching()
		t.Fatal(errors.Join(err, witnesses.Wait()))
	}
	t.Logf("%d pushes in %s; killed: %s", pushes, time.Since(start).Round(time.Second), killed(all))
	start = time.Now()
	if err := settle(watching, tenant, newest); err != nil {
		t.Error(err)
	}
	t.Logf("everything at the newest revision %s after the last push", time.Since(start).Round(time.Millisecond))
	checkLog(ctx, t, admin, &log)
	stopWatching()
	if err := witnesses.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("ConfigMaps took %d steps, none back; EVENTS %d to %d: %d messages", seen.steps, log.first, log.last.Load(), log.count)
	t.Logf("%d downloads of %d artifacts, each whole whenever the fetcher answered", reader.downloads, reader.artifacts)
	if seen.steps == 0 {
		t.Error("no ConfigMap was seen to change: the test has shown nothing about their order")
	}
	if reader.artifacts == 0 {
		t.Error("no artifact was read: the test has shown nothing about them")
	}
	for _, s := range all {
		if s.kills == 0 {
			t.Errorf("%s was never killed: the test has shown nothing about it", s.name)
		}
	}
	wiped(ctx, t, g, admin, tenant, pushes+1)
	releasedAgain(ctx, t, tenant)
	noCredentialIsTold(ctx, t, g, all)
}

// sopsKey is an age key of the test, and of nothing else.
const sopsKey = "AGE-SECRET-KEY-1T23Z948VTVRCEEANM8J68CKUPCNJ49AHNEK7PHXCVT6D8N6AEFUQNLJL0Q"

func newWorld(t *testing.T) *harness.World {
	t.Helper()
	world, err := harness.NewWorld(context.WithoutCancel(t.Context()), harness.WorldOptions{
		Plane:    controlplane.Options{NoNodes: true, NoControllerManager: true},
		Progress: os.Stderr, Token: "chaos-only-token", WithoutSluice: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := world.Namespace(t.Context(), harness.SystemNamespace); err != nil {
		t.Fatal(err)
	}
	grant(t, world)
	return world
}

// grant gives the services the rights of deploy/kubernetes. Their Deployments are left
// out: the test runs the programs itself.
func grant(t *testing.T, world *harness.World) {
	t.Helper()
	manifests, err := harness.Manifests("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range manifests {
		if o.GetKind() != "ServiceAccount" && o.GroupVersionKind().Group != rbacv1.GroupName {
			continue
		}
		if err := world.Cluster.ApplyObject(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// newTenant makes the apps and waits until they are live.
func newTenant(t *testing.T, world *harness.World, base string) *harness.Tenant {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), calm)
	defer cancel()
	files := map[string]string{}
	for i := range apps {
		files[file(i)] = content(i, 0)
	}
	tenant, err := world.NewTenant(ctx, "chaos", withChart(files))
	if err != nil {
		t.Fatal(err)
	}
	tenant.Webhook = base
	// The builder takes the key along into its confined process, though nothing is encrypted.
	if err := world.Secret(ctx, tenant.Namespace, "sops", map[string]string{"keys.agekey": sopsKey}); err != nil {
		t.Fatal(err)
	}
	for i := range apps {
		spec := map[string]any{"path": "./" + app(i)}
		if i == 0 {
			spec["decryption"] = map[string]any{"provider": "sops", "secretRef": map[string]any{"name": "sops"}}
		}
		if i > 0 && i%4 == 0 {
			spec["dependsOn"] = []any{map[string]any{"name": app(i - 1)}}
		}
		if err := tenant.Kustomization(ctx, app(i), spec); err != nil {
			t.Fatal(err)
		}
	}
	for i := range apps {
		if err := tenant.Live(ctx, app(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := release(ctx, tenant, "installed", "nothing"); err != nil {
		t.Fatal(err)
	}
	return tenant
}

// storm pushes and kills side by side until all pushes are made, and returns the
// newest push of each app. Every service runs again when it returns.
func storm(ctx context.Context, tenant *harness.Tenant, all []*service, pushes int, seed uint64) (map[int]int, error) {
	newest := map[int]int{}
	group, ctx := errgroup.WithContext(ctx)
	calming, calmDown := context.WithCancel(ctx)
	group.Go(func() error {
		defer calmDown()
		dice := rand.New(rand.NewPCG(seed, 1))
		for push := 1; push <= pushes; push++ {
			i := dice.IntN(apps)
			if err := tenant.Push(ctx, map[string]string{file(i): content(i, push)}); err != nil {
				return err
			}
			newest[i] = push
			if !pause(ctx, time.Duration(dice.Int64N(int64(pushPause)))) {
				return ctx.Err()
			}
		}
		return nil
	})
	group.Go(func() error {
		dice := rand.New(rand.NewPCG(seed, 2))
		for {
			for _, i := range dice.Perm(len(all)) {
				if !pause(calming, time.Duration(dice.Int64N(int64(killPause)))) {
					return ctx.Err()
				}
				if err := all[i].kill(); err != nil {
					return err
				}
				pause(ctx, time.Duration(dice.Int64N(int64(downtime))))
				if err := all[i].start(); err != nil {
					return err
				}
			}
		}
	})
	return newest, group.Wait()
}

// settle waits until the cluster is what Git is at its newest.
func settle(ctx context.Context, tenant *harness.Tenant, newest map[int]int) error {
	ctx, cancel := context.WithTimeout(ctx, calm)
	defer cancel()
	for i := range apps {
		want := strconv.Itoa(newest[i])
		_, err := tenant.Cluster.WaitFor(ctx, harness.ConfigMapKind, tenant.Namespace, app(i), func(u *unstructured.Unstructured) bool {
			if u == nil {
				return false
			}
			got, _, err := unstructured.NestedString(u.Object, "data", "push")
			return err == nil && got == want
		})
		if err != nil {
			return fmt.Errorf("%s is not at push %s: %w", app(i), want, err)
		}
		if err := tenant.Live(ctx, app(i)); err != nil {
			return err
		}
	}
	return onlyNewest(ctx, tenant, newest)
}

// onlyNewest waits until nothing that an older push made is left.
func onlyNewest(ctx context.Context, tenant *harness.Tenant, newest map[int]int) error {
	r, err := tenant.Cluster.Resource(harness.ConfigMapKind, tenant.Namespace)
	if err != nil {
		return err
	}
	var want, have []string
	for i := range apps {
		want = append(want, made(i, newest[i]))
	}
	slices.Sort(want)
	err = harness.Until(ctx, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		list, err := r.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		have = nil
		for _, u := range list.Items {
			if strings.Contains(u.GetName(), madeBy) {
				have = append(have, u.GetName())
			}
		}
		slices.Sort(have)
		return slices.Equal(have, want), nil
	})
	if err != nil {
		return fmt.Errorf("the cluster has %v, Git has %v: %w", have, want, err)
	}
	return nil
}

// checkLog compares what the subscriber saw with what the stream took, and looks
// for dead letters.
func checkLog(ctx context.Context, t *testing.T, admin *nats.Conn, log *subscriber) {
	t.Helper()
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(ctx, events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	bounded, cancel := context.WithTimeout(ctx, calm)
	defer cancel()
	err = harness.Until(bounded, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		info, err := stream.Info(ctx)
		return err == nil && log.reached(info.State.LastSeq), err
	})
	if err != nil {
		t.Errorf("the subscriber did not see the end of the log: %v", err)
	}
	dead, err := js.Stream(ctx, events.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	if n := dead.CachedInfo().State.Msgs; n > 0 {
		t.Errorf("there are %d dead letters: %v", n, dead.CachedInfo().State.Subjects)
	}
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, want a positive number", name, text)
	}
	return n
}

func killed(all []*service) string {
	text := ""
	for _, s := range all {
		text += fmt.Sprintf("%s %d times, ", s.name, s.kills)
	}
	return text[:len(text)-2]
}

func app(i int) string { return fmt.Sprintf("app-%d", i) }

func file(i int) string { return app(i) + "/settings.yaml" }

// content is an object that each push changes, and one that each push makes in
// place of the one the push before made.
func content(i, push int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  push: \"%d\"\n---\n"+
		"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  note: made\n", app(i), push, made(i, push))
}

const madeBy = "-made-by-"

func made(i, push int) string { return fmt.Sprintf("%s%s%d", app(i), madeBy, push) }
