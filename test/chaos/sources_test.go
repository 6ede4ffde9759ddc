package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/test/harness"
)

const (
	// lifetime is how long the fetcher lives once it is ready, deadtime how long it stays
	// dead, both at most. One life in stillborn ends before that.
	lifetime, deadtime = 4 * time.Second, time.Second
	stillborn          = 4
	// kept is how many artifacts of a source stay beside the current one.
	kept = 2
)

// A fetcher that dies at random while sources of every kind change leaves no artifact
// half-written and none missing, takes none away that a status names, and misses no change.
// Consumers download what the statuses name all the time.
// CHAOS_SOURCES sets the number of changes (40), CHAOS_SEED repeats a run.
func TestSources(t *testing.T) {
	updates, seed := setting(t, "CHAOS_SOURCES", 40), setting(t, "CHAOS_SEED", int(time.Now().UnixNano()&0xffffffff))
	t.Logf("CHAOS_SOURCES=%d CHAOS_SEED=%d", updates, seed)
	world := newWorld(t)
	g := newGround(t, world)
	all, base := g.services(t, "webhook", "fetcher")
	fetcher := all[1]
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(updates)*4*time.Second+4*calm)
	defer cancel()
	streams := newUpstreams(ctx, t, g)
	for _, u := range streams {
		if err := u.update(ctx, 0); err != nil {
			t.Fatal(err)
		}
		if err := u.create(ctx, world); err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range streams {
		if err := u.arrived(ctx, world.Cluster); err != nil {
			t.Fatal(err)
		}
	}

	watching, stopWatching := context.WithCancel(ctx)
	readers, watching := errgroup.WithContext(watching)
	var consumers []*consumer
	for _, u := range streams {
		for _, o := range u.objects {
			c := &consumer{}
			consumers = append(consumers, c)
			readers.Go(func() error { return c.read(watching, world.Cluster, o.kind, u.namespace, o.name) })
		}
	}
	began := time.Now()
	waits, err := change(watching, world, streams, fetcher, updates, uint64(seed), base)
	if err != nil {
		stopWatching()
		t.Fatal(errors.Join(err, readers.Wait()))
	}
	took := time.Since(began)
	// What a killed fetcher did not collect any more goes with the next change.
	for _, u := range streams {
		if err := u.pass(ctx, world, updates+1, base); err != nil {
			t.Fatal(err)
		}
	}
	stopWatching()
	if err := readers.Wait(); err != nil {
		t.Error(err)
	}
	downloads, artifacts, unanswered := 0, 0, 0
	for _, c := range consumers {
		downloads, artifacts, unanswered = downloads+c.downloads, artifacts+c.artifacts, unanswered+c.unanswered
	}
	t.Logf("%d changes of %d sources in %s, each in the statuses after %s at most; the fetcher was killed %d times",
		updates, len(consumers), took.Round(time.Second), waits.Round(time.Millisecond), fetcher.kills)
	t.Logf("%d downloads of %d artifacts, each whole; %d times nobody answered", downloads, artifacts, unanswered)
	if fetcher.kills == 0 || artifacts <= len(consumers) {
		t.Error("the fetcher was never killed, or no artifact was read: the test has shown nothing")
	}
	checkStorage(ctx, t, g, streams, world.Cluster)
	noCredentialIsTold(ctx, t, g, all)
}

// change makes changes upstream, side by side for each upstream, each once the statuses
// have the one before, and kills the fetcher meanwhile. It returns the longest time that a
// change took to be in the statuses.
func change(ctx context.Context, world *harness.World, streams []*upstream, fetcher *service, updates int, seed uint64, base string) (time.Duration, error) {
	var left, longest atomic.Int64
	left.Store(int64(updates))
	group, ctx := errgroup.WithContext(ctx)
	calming, calmDown := context.WithCancel(ctx)
	writers, writing := errgroup.WithContext(ctx)
	for _, u := range streams {
		writers.Go(func() error {
			for n := 1; left.Add(-1) >= 0; n++ {
				began := time.Now()
				if err := u.pass(writing, world, n, base); err != nil {
					return err
				}
				for took := int64(time.Since(began)); ; {
					before := longest.Load()
					if took <= before || longest.CompareAndSwap(before, took) {
						break
					}
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer calmDown()
		return writers.Wait()
	})
	group.Go(func() error {
		dice := rand.New(rand.NewPCG(seed, 3))
		// The first dies at once: all changes may be made before a lifetime is over.
		for life := time.Duration(0); pause(calming, life); life = time.Duration(dice.Int64N(int64(lifetime))) {
			if err := fetcher.kill(); err != nil {
				return err
			}
			pause(ctx, time.Duration(dice.Int64N(int64(deadtime))))
			if err := fetcher.start(); err != nil {
				return err
			}
			if dice.IntN(stillborn) == 0 {
				continue
			}
			if err := fetcher.process.WaitReady(ctx, fetcher.health); err != nil {
				return err
			}
		}
		return nil
	})
	err := group.Wait()
	return time.Duration(longest.Load()), err
}

// checkStorage looks at what is in storage in the end: what each status names and no more
// than what is kept beside it, all of it whole.
func checkStorage(ctx context.Context, t *testing.T, g *ground, streams []*upstream, cluster *harness.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, calm)
	defer cancel()
	store := g.storage(t)
	for _, u := range streams {
		for _, o := range u.objects {
			folder := fmt.Sprintf("artifacts/%s/%s/%s/", strings.ToLower(o.kind.Kind), u.namespace, o.name)
			var keys []string
			err := harness.Until(ctx, 100*time.Millisecond, func(ctx context.Context) (_ bool, err error) {
				keys, err = keysBelow(ctx, store, folder)
				return len(keys) <= 1+kept, err
			})
			if err != nil {
				t.Fatalf("%s/%s has %d artifacts in storage: %v", u.namespace, o.name, len(keys), err)
			}
			stored := map[string]bool{}
			for _, key := range keys {
				digest, err := digestOf(ctx, store, key)
				if err != nil {
					t.Fatal(err)
				}
				if want := strings.TrimSuffix(strings.TrimPrefix(key, folder), ".tar.gz"); "sha256:"+want != digest {
					t.Errorf("%s has digest %s", key, digest)
				}
				stored[digest] = true
			}
			object, err := cluster.Get(ctx, o.kind, u.namespace, o.name)
			if err != nil {
				t.Fatal(err)
			}
			if _, digest := artifactOf(object); !stored[digest] {
				t.Errorf("%s is at %s, storage has %v", o.name, digest, stored)
			}
		}
	}
}

// source is an object that follows an upstream.
type source struct {
	kind schema.GroupVersionKind
	name string
}

// upstream is what sources are made of, in a namespace of its own.
type upstream struct {
	namespace string
	objects   []source
	manifest  string
	// put makes the n-th change, and at says whether an object's status has it, by
	// what put returned.
	put func(ctx context.Context, n int) (mark string, err error)
	at  func(u *unstructured.Unstructured, mark string) bool

	mark string
}

func (u *upstream) update(ctx context.Context, n int) (err error) {
	if u.mark, err = u.put(ctx, n); err != nil {
		return fmt.Errorf("change %d of %s: %w", n, u.namespace, err)
	}
	return nil
}

// create makes the sources, and a Receiver for all of them.
func (u *upstream) create(ctx context.Context, world *harness.World) error {
	if err := world.Namespace(ctx, u.namespace); err != nil {
		return err
	}
	if err := world.Secret(ctx, u.namespace, "webhook", map[string]string{"token": world.Token}); err != nil {
		return err
	}
	var resources strings.Builder
	for _, o := range u.objects {
		if o.kind.Kind == "ExternalArtifact" {
			continue // it follows what it is made of
		}
		fmt.Fprintf(&resources, "  - {apiVersion: %s, kind: %s, name: %s}\n", o.kind.GroupVersion(), o.kind.Kind, o.name)
	}
	receiver := fmt.Sprintf("apiVersion: notification.toolkit.fluxcd.io/v1\nkind: Receiver\nmetadata: {name: all}\nspec:\n"+
		"  type: github\n  events: [push]\n  secretRef: {name: webhook}\n  resources:\n%s", resources.String())
	for _, manifest := range []string{u.manifest, receiver} {
		if err := world.Cluster.Apply(ctx, u.namespace, []byte(manifest)); err != nil {
			return err
		}
	}
	_, err := world.Cluster.WaitFor(ctx, harness.ReceiverKind, u.namespace, "all", func(o *unstructured.Unstructured) bool {
		return o != nil && harness.Ready(o, "")
	})
	return err
}

// pass makes the n-th change, tells of it as a server of Git repositories does, and waits until
// the statuses have it.
func (u *upstream) pass(ctx context.Context, world *harness.World, n int, base string) error {
	if err := u.update(ctx, n); err != nil {
		return err
	}
	url := base + harness.HookPath(world.Token, "all", u.namespace)
	if err := harness.DeliverHook(ctx, url, world.Token, harness.Branch, u.mark); err != nil {
		return err
	}
	return u.arrived(ctx, world.Cluster)
}

// arrived waits until the statuses of all sources have the newest change.
func (u *upstream) arrived(ctx context.Context, cluster *harness.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, 2*calm)
	defer cancel()
	for _, o := range u.objects {
		_, err := cluster.WaitFor(ctx, o.kind, u.namespace, o.name, func(object *unstructured.Unstructured) bool {
			status, _, _ := harness.Condition(object, "Ready")
			return object != nil && status == "True" && u.at(object, u.mark)
		})
		if err != nil {
			return fmt.Errorf("%s %s/%s has not %s: %w", o.kind.Kind, u.namespace, o.name, u.mark, err)
		}
	}
	return nil
}
