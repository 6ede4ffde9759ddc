package applier_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
)

// aloneCases need the API server, or the applier, for themselves.
func aloneCases() []testCase {
	return []testCase{
		{"requests", "each way through a pass sends exactly what it must", requests},
		{"restart", "a restart asks for nothing but what changed meanwhile", restart},
		{"restart without labels", "an object that is opted out and in no list stays so over a restart", restartUnfollowed},
		{"killed", "what a dead applier wrote is held while the newest build is broken", killed},
		{"killed installing", "what a dead applier made is pruned, and goes with the Kustomization", killedInstalling},
		{"nothing kept", "without what was kept everything is verified once", nothingKept},
		{"dropped", "what was kept of a Kustomization goes with it", dropped},
		{"replicas", "two appliers end at the newest revision", replicas},
		{"stage waits", "a namespace that is being deleted holds no worker, and is waited for", stageWaits},
		{"stage times out", "a stage is waited for as long as the timeout says, over a restart, and again at the retry", stageTimesOut},
		{"recreate waits", "an object that is made anew, and that a finalizer keeps, holds no worker, and is waited for", recreateWaits},
		{"random edits", "whatever is edited and pushed, in any order, ends at the newest render, and then nothing is sent", randomEdits},
		{"unwatched", "an object whose kind may not be watched is put back at the interval", unwatched},
		{"unwatched and busy", "also while revisions come more often than that", unwatchedBusy},
		{"unwatched and broken", "also while the newest build is broken", unwatchedBroken},
		{"verify", "objects are compared with the API server now and then although nothing was seen", verify},
		{"wiped", "wiped streams heal", wiped},
		{"deadline", "a wait keeps its deadline though the applier restarts and the bus forgets", deadline},
		{"hundred", "one worker applies others, and fixes, while a hundred objects do not get ready", hundred},
	}
}

// sent counts what the applier asked of the API server during f, without watches
// and Kubernetes Events.
func (a *app) sent(f func()) map[string]int {
	a.t.Helper()
	a.settled()
	from := time.Now()
	f()
	a.settled()
	return a.count(from)
}

// sentDuring counts what is asked in a span of time, whatever happens in it.
func (a *app) sentDuring(span time.Duration) map[string]int {
	a.t.Helper()
	from := time.Now()
	<-time.After(span)
	return a.count(from)
}

func (a *app) count(from time.Time) map[string]int {
	a.t.Helper()
	all, err := a.plane.Requests(from, time.Now())
	if err != nil {
		a.t.Fatal(err)
	}
	counts := map[string]int{}
	for _, r := range all {
		if !strings.HasPrefix(r.UserAgent, userAgent) || r.Verb == "watch" || r.Resource == "events" || r.Resource == "" {
			continue
		}
		counts[r.Verb+" "+r.Resource]++
	}
	return counts
}

func restartUnfollowed(t *testing.T, w *world) {
	a := w.unfollowed(t)
	w.stop()
	w.stop = w.start(applier.Settings{})
	a.moveSource("main@sha1:2")
	a.build(configMap("one", "2"), configMap("two", "2"))
	a.ready()
	a.settled()
	a.holds("one", "1")
}

func requests(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	two := func(one string) []string { return []string{configMap("one", one), configMap("two", "2")} }
	first := a.sent(func() { a.build(two("1")...); a.ready() })
	if first["patch configmaps"] != 2 || first["patch kustomizations/status"] != 1 { // what earlier tests left may cost reads
		t.Errorf("the first render: a write for each object and one for the status, no dry run; got %v", first)
	}
	for _, c := range []struct {
		what string
		do   func()
		want map[string]int
	}{
		{"a render that changes one object: object and final status", func() {
			a.moveSource("main@sha1:2")
			a.build(two("2")...)
			a.ready()
		}, map[string]int{"patch configmaps": 1, "patch kustomizations/status": 1}},
		{"a render that adds an object: object and final status", func() {
			a.moveSource("main@sha1:2b")
			a.build(append(two("2"), configMap("three", "3"))...)
			a.ready()
		}, map[string]int{"patch configmaps": 1, "patch kustomizations/status": 1}},
		{"a render that drops it: deletion, final status", func() {
			a.moveSource("main@sha1:2c")
			a.build(two("2")...)
			a.ready()
		}, map[string]int{"get configmaps": 1, "delete configmaps": 1, "patch kustomizations/status": 1}},
		{"a revision with the same render: one status", func() {
			a.moveSource("main@sha1:3")
			a.build(two("2")...)
			a.ready()
		}, map[string]int{"patch kustomizations/status": 1}},
		{"the same build again: nothing", func() { a.build(two("2")...) }, map[string]int{}},
		{"a foreign edit: the object alone", func() {
			a.setValue("one", "v", "foreign")
			a.holds("one", "2")
			a.journalHas(events.TypeDriftCorrected)
		}, map[string]int{"patch configmaps": 1}},
	} {
		sent := a.sent(c.do)
		if sent["get kustomizations"] == 1 && sent["get gitrepositories"] == 1 { // a watch that is late costs both, once
			delete(sent, "get kustomizations")
			delete(sent, "get gitrepositories")
		}
		if diff := cmp.Diff(c.want, sent); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}

// about returns the requests of the applier that name an object of the app's, without
// watches and lists.
func (a *app) about(from time.Time) []string {
	a.t.Helper()
	all, err := a.plane.Requests(from, time.Now())
	if err != nil {
		a.t.Fatal(err)
	}
	var out []string
	for _, r := range all {
		if strings.HasPrefix(r.UserAgent, userAgent) && r.Namespace == a.namespace && r.Resource != "events" && r.Verb != "watch" && r.Verb != "list" {
			out = append(out, r.Verb+" "+r.Resource)
		}
	}
	return out
}

func restart(t *testing.T, w *world) {
	for _, c := range []struct {
		what      string
		meanwhile func(*app)
		want      []string
	}{
		{"nothing happened: no request", func(*app) {}, nil},
		{"an object was edited: it is put back alone", func(a *app) { a.setValue("one", "v", "foreign") }, []string{"patch configmaps"}},
		{"an object was deleted: it is made again alone", func(a *app) {
			cm, err := a.configMap("one")
			if err == nil {
				err = a.Delete(t.Context(), cm)
			}
			if err != nil {
				t.Error(err)
			}
		}, []string{"get configmaps", "patch configmaps"}}, // a list by label does not tell that it is gone
		{"a foreign field came: one look", func(a *app) { a.setValue("one", "extra", "x") }, []string{"patch configmaps"}},
	} {
		a := w.newApp(t, nil)
		a.build(configMap("one", "1"), configMap("two", "2"))
		a.ready()
		a.aged("one")
		before := a.get().ResourceVersion
		w.stop()
		c.meanwhile(a)
		from := time.Now()
		w.stop = w.start(applier.Settings{})
		canary := w.newApp(t, nil) // its pass ends after those of the start
		canary.build(configMap("one", "1"))
		canary.ready()
		a.holds("one", "1")
		a.until(c.what, func() error {
			if got := a.about(from); !slices.Equal(got, c.want) {
				return fmt.Errorf("requests are %v, want %v", got, c.want)
			}
			return nil
		})
		a.settled()
		if got := a.about(from); !slices.Equal(got, c.want) {
			t.Errorf("%s: requests are %v, want %v", c.what, got, c.want)
		}
		if now := a.get().ResourceVersion; now != before {
			t.Errorf("%s: the restart wrote the Kustomization: %s", c.what, a.describe())
		}
	}
}

// nothingKept restarts the applier without its snapshots, and with forged ones.
func nothingKept(t *testing.T, w *world) {
	for _, c := range []struct {
		what string
		do   func(name string, old []byte) error
	}{
		{"the snapshot is gone", func(name string, _ []byte) error { return w.blobs.Delete(t.Context(), name) }},
		{"the snapshot is not authentic", func(name string, _ []byte) error {
			return w.blobs.Replace(t.Context(), name, []byte("forged"), blob.Digest([]byte("forged")))
		}},
		{"an older snapshot was put back", func(name string, old []byte) error {
			return w.blobs.Replace(t.Context(), name, old, blob.Digest(old))
		}},
	} {
		a := w.newApp(t, nil)
		a.build(configMap("one", "0"), configMap("two", "2"))
		a.ready()
		var old []byte
		a.until("a snapshot is kept", func() (err error) {
			old, err = w.blobs.Get(t.Context(), a.snapshot(), "", 1<<20)
			return err
		})
		a.moveSource("main@sha1:2")
		a.build(configMap("one", "1"), configMap("two", "2"))
		a.ready()
		a.aged("one")
		w.stop()
		if err := c.do(a.snapshot(), old); err != nil {
			t.Fatal(err)
		}
		a.setValue("one", "v", "foreign")
		from := time.Now()
		w.stop = w.start(applier.Settings{})
		a.holds("one", "1")
		a.journalHas(events.TypeDriftCorrected)
		a.settled()
		want := []string{"patch configmaps", "patch configmaps", "patch configmaps"} // two dry runs, one write
		if got := a.about(from); !slices.Equal(got, want) {
			t.Errorf("%s: requests are %v, want %v", c.what, got, want)
		}
	}
}

// aged waits until a ConfigMap was applied long enough ago for a dry run to prove that
// it is unchanged: the times it compares have whole seconds.
func (a *app) aged(name string) {
	a.t.Helper()
	cm, err := a.configMap(name)
	a.agedMap(cm, err)
}

func (a *app) agedMap(cm *corev1.ConfigMap, err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
	a.until(cm.Name+" has aged", func() error {
		for _, e := range cm.ManagedFields {
			if age := time.Since(e.Time.Time); age < 4*time.Second {
				return fmt.Errorf("%s wrote it %s ago", e.Manager, age)
			}
		}
		return nil
	})
}

func (a *app) snapshot() string {
	return fmt.Sprintf("live/%s/kustomization/%s/%s", clusterName, a.namespace, a.name)
}

func dropped(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	a.until("the snapshot is there", func() error {
		_, err := w.blobs.Stat(t.Context(), a.snapshot())
		return err
	})
	if err := a.Delete(t.Context(), a.get()); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := w.blobs.Stat(t.Context(), a.snapshot())
		if errors.Is(err, blob.ErrNotFound) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the snapshot is still there: %v", err)
		}
		<-tick.C
	}
}

func verify(t *testing.T, w *world) {
	w.stop()
	stop := w.start(applier.Settings{VerifyInterval: time.Millisecond})
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.Interval.Duration = 2 * time.Second })
	a.build(configMap("one", "1"))
	a.ready()
	before, err := a.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	a.until("the object is compared", func() error {
		all, err := a.plane.Requests(from, time.Now())
		for _, r := range all {
			if r.Verb == "patch" && r.Resource == "configmaps" && r.Namespace == a.namespace {
				return nil
			}
		}
		return errors.Join(err, errors.New("no request about the ConfigMap"))
	})
	if now, err := a.configMap("one"); err != nil || now.ResourceVersion != before.ResourceVersion {
		t.Errorf("comparing wrote the object: %v", err)
	}
	stop()
	w.stop = w.start(applier.Settings{})
}

// killed plays an applier that claimed in the journal, wrote, and died before it
// wrote the status.
func killed(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	a.settled()
	w.stop()
	a.moveSource("main@sha1:2")
	build := a.seal(a.keys, configMap("one", "2"))
	err := a.tryAppend(events.ApplySubject(clusterName, a.key()), events.ApplyProgressing{Applied: events.Applied{
		Cluster: clusterName, Object: a.key(), UID: build.UID, Revision: build.Revision, RenderID: build.RenderID,
	}})
	if err != nil {
		t.Fatal(err)
	}
	a.setValue("one", "v", "2")
	a.moveSource("main@sha1:3")
	a.publish(events.BuildFailed{BuildInput: a.input(a.get()), Reason: "BuildFailed", Message: "broken"})
	w.stop = w.start(applier.Settings{})
	for range 2 {
		a.condition(kube.ConditionReady, "False", "BuildFailed", "broken")
		a.settled()
		a.holds("one", "2")
		a.setValue("one", "v", "foreign")
		a.holds("one", "2")
		w.stop()
		w.stop = w.start(applier.Settings{})
	}
}

func replicas(t *testing.T, w *world) {
	w.stop()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "sluice-system"}}
	if err := client.IgnoreAlreadyExists(w.Create(t.Context(), namespace)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		defer w.run("", applier.Config{})()
	}
	defer func() { w.stop = w.start(applier.Settings{}) }()
	a := w.newApp(t, nil)
	const rounds = 20
	for n := range rounds {
		a.moveSource(fmt.Sprintf("main@sha1:%d", n))
		a.build(configMap("one", fmt.Sprint(n)), configMap(fmt.Sprintf("only-%d", n%2), "x"))
	}
	ks := a.ready()
	a.holds("one", fmt.Sprint(rounds-1))
	a.absent("only-0")
	if got := len(ks.Status.Inventory.Entries); got != 2 {
		t.Errorf("inventory is %v", ks.Status.Inventory.Entries)
	}
	a.never("an older revision came back", func() error {
		cm, err := a.configMap("one")
		if err == nil && cm.Data["v"] != fmt.Sprint(rounds-1) {
			err = fmt.Errorf("holds %q", cm.Data["v"])
		}
		return err
	})
}

func wiped(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	for _, stream := range []string{events.StreamEvents, events.CheckStream(events.StageApply)} {
		w.wipe(t, stream)
	}
	a.moveSource("main@sha1:2")
	a.until("a build is taken", func() error {
		err := a.tryPublish(a.seal(a.keys, configMap("one", "2")))
		if err != nil {
			return err
		}
		return nil
	})
	a.ready()
	a.holds("one", "2")
}

// never checks for a moment that a condition stays.
func (a *app) never(what string, check func() error) {
	a.t.Helper()
	end := time.Now().Add(500 * time.Millisecond)
	a.until(what, func() error {
		if err := check(); err != nil {
			a.t.Errorf("%s: %v", what, err)
		}
		if time.Now().Before(end) {
			return errors.New("watching")
		}
		return nil
	})
}
