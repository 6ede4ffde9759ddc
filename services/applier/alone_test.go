package applier_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/applier"
)

// aloneCases need the API server, or the applier, for themselves.
func aloneCases() []testCase {
	return []testCase{
		{"requests", "each way through a pass sends exactly what it must", requests},
		{"restart", "a restart writes nothing, and puts back what was edited meanwhile", restart},
		{"replicas", "two appliers end at the newest revision", replicas},
		{"wiped", "wiped streams heal", wiped},
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

func requests(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	two := func(one string) []string { return []string{configMap("one", one), configMap("two", "2")} }
	first := a.sent(func() { a.build(two("1")...); a.ready() })
	t.Logf("first render of two ConfigMaps: %v", first)
	for _, c := range []struct {
		what string
		do   func()
		want map[string]int
	}{
		{"a render that changes one object: claim, object, final status", func() {
			a.moveSource("main@sha1:2")
			a.build(two("2")...)
			a.ready()
		}, map[string]int{"patch configmaps": 1, "patch kustomizations/status": 2}},
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
		if diff := cmp.Diff(c.want, a.sent(c.do)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}

func restart(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"), configMap("two", "2"))
	a.ready()
	a.settled()
	before := a.get().ResourceVersion
	w.stop()
	a.setValue("one", "v", "foreign")
	w.stop = w.start(applier.Settings{})
	a.holds("one", "1")
	a.settled()
	if now := a.get().ResourceVersion; now != before {
		t.Errorf("the restart wrote the Kustomization: %s", a.describe())
	}
}

func replicas(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	stop := w.start(applier.Settings{})
	defer stop()
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
