package applier_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// editsSeed is the environment variable that repeats a run, editsRounds the one
	// that makes it longer.
	editsSeed   = "EDITS_SEED"
	editsRounds = "EDITS_ROUNDS"
	editsApps   = 3
	editsSteps  = 60
	// editsInterval is what makes up for lost checks.
	editsInterval = 2 * time.Second
)

// specimen is one object of an app and what is known of it.
type specimen struct {
	species
	app  *app
	name string
	// value of the newest render; empty when the object is not in it.
	value string
	// kept are foreign fields that must live, taken those that must go.
	kept, taken []map[string]any
	// unsure is set until the next calm in which it is not opted out when nobody can tell whether a
	// step hit the object before or after Sluice did: then fields of others may be lost or not.
	unsure bool
	// out is the object as it was left when it was opted out, nil when it is not.
	out map[string]any
	// orphan is an object that was opted out when it left the render.
	orphan bool
}

func (s *specimen) String() string { return s.app.namespace + "/" + s.kind + "/" + s.name }

// edits is one run.
type edits struct {
	*world
	t     *testing.T
	rand  *rand.Rand
	apps  []*app
	all   []*specimen
	queue jetstream.JetStream
	count int
	log   []string
	// lost says that checks were dropped since the last calm.
	lost bool
	// wrong are the objects that the last look found not as they must be.
	wrong []*specimen
}

// randomEdits lets field managers and pushes change objects at random, and expects
// after each round the newest render, the fields of others where the rules of drift
// let them live, and silence, whatever checks were lost, doubled or out of order.
func randomEdits(t *testing.T, w *world) {
	seed, rounds := uint64(time.Now().UnixNano()&0xffffffff), 4
	for name, set := range map[string]func(int){editsSeed: func(n int) { seed = uint64(n) }, editsRounds: func(n int) { rounds = n }} {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			set(n)
		}
	}
	t.Logf("%s=%d %s=%d", editsSeed, seed, editsRounds, rounds)
	e := &edits{world: w, t: t, rand: rand.New(rand.NewPCG(seed, 0))}
	e.prepare()
	for range rounds {
		e.log = nil
		for range editsSteps {
			e.step()
		}
		e.calm()
	}
	t.Logf("%d steps", e.count)
}

func (e *edits) prepare() {
	e.t.Helper()
	for range editsApps {
		e.apps = append(e.apps, e.newApp(e.t, func(ks *kustomizev1.Kustomization) {
			ks.Spec.Interval.Duration = editsInterval
			ks.Spec.RetryInterval.Duration = time.Hour // nothing that happens here is to wait for it
		}))
	}
	e.queue = e.jetstream(e.t)
	first := e.apps[0]
	// The definition is nobody's: its objects are what is edited.
	definition := &unstructured.Unstructured{Object: wanted(e.t, first.definition(), "")}
	if err := e.Create(e.t.Context(), definition); err != nil {
		e.t.Fatal(err)
	}
	first.until("widgets are served", func() error {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(first.namespace + ".example.com/v1")
		list.SetKind("WidgetList")
		return e.List(e.t.Context(), list)
	})
	for _, a := range e.apps {
		for _, s := range allSpecies {
			s.apiVersion = strings.ReplaceAll(s.apiVersion, "WIDGET", first.namespace+".example.com")
			for i := range 2 {
				e.all = append(e.all, &specimen{species: s, app: a, name: fmt.Sprintf("o%d", i), value: "0"})
			}
		}
		e.render(a)
	}
	e.calm()
}

// render pushes what the app's objects are to be.
func (e *edits) render(a *app) {
	e.t.Helper()
	var manifests []string
	for _, s := range e.all {
		if s.app == a && s.value != "" {
			manifests = append(manifests, s.manifest(s.name, s.value))
		}
	}
	e.count++
	a.moveSource(fmt.Sprintf("main@sha1:%d", e.count))
	a.build(manifests...)
}

// quiet waits until the applier sends nothing for a moment.
func (e *edits) quiet() {
	e.t.Helper()
	const moment = 600 * time.Millisecond
	limit := time.Now().Add(patience)
	for {
		from := time.Now()
		sent := e.apps[0].sentDuring(moment)
		if len(sent) == 0 {
			return
		}
		if time.Now().After(limit) {
			e.fail(fmt.Errorf("still sending: %v", slices.Sorted(maps.Keys(sent))), from)
		}
	}
}

// calm waits until all is as it must be and stays so.
func (e *edits) calm() {
	e.t.Helper()
	for _, a := range e.apps {
		a.ready()
	}
	e.quiet()
	from := time.Now()
	limit := from.Add(patience)
	err := e.verify()
	for ; err != nil; err = e.verify() {
		if time.Now().After(limit) {
			e.fail(err, from)
		}
		<-time.After(50 * time.Millisecond)
	}
	late := time.Second
	if e.lost {
		late += 2 * editsInterval
	}
	if took := time.Since(from); took > late {
		e.t.Errorf("right %s after the applier fell silent", took)
	}
	e.lost = false
	e.quiet()
	if err := e.verify(); err != nil {
		e.fail(fmt.Errorf("not any more: %w", err), from)
	}
	for _, s := range e.all {
		s.unsure = s.unsure && s.out != nil // nobody's fields stay nobody's until it is applied again
	}
}

// fail ends the test with what was done to the objects that are not as they must be.
func (e *edits) fail(err error, from time.Time) {
	e.t.Helper()
	all, rerr := e.plane.Requests(from.Add(-time.Minute), time.Now())
	if rerr != nil {
		e.t.Error(rerr)
	}
	var sent []string
	for _, r := range all {
		plural := func(s *specimen) bool { return r.Resource == strings.ToLower(s.kind)+"s" }
		if strings.HasPrefix(r.UserAgent, userAgent) && slices.ContainsFunc(e.wrong, func(s *specimen) bool {
			return plural(s) && s.app.namespace == r.Namespace && s.name == r.Name
		}) {
			sent = append(sent, fmt.Sprintf("%s %s %s/%s/%s: %d", r.Time.Format("05.000"), r.Verb, r.Namespace, r.Resource, r.Name, r.Code))
		}
	}
	for _, s := range e.wrong {
		for _, event := range s.app.history() {
			sent = append(sent, fmt.Sprintf("%s %s %s %s", event.Time().Format("05.000"), s.app.namespace, event.Type(), event.Data()))
		}
	}
	slices.Sort(sent)
	e.t.Fatalf("%v\nsent about it, and told:\n%s\nsteps:\n%s", err, strings.Join(slices.Compact(sent), "\n"), strings.Join(e.log, "\n"))
}

func (e *edits) verify() error {
	var all []error
	e.wrong = nil
	for _, s := range e.all {
		u := s.object()
		err := e.Get(context.WithoutCancel(e.t.Context()), client.ObjectKeyFromObject(u), u)
		switch {
		case apierrors.IsNotFound(err):
			u = nil
		case err != nil:
			return err
		}
		if err := e.judge(s, u); err != nil {
			e.wrong = append(e.wrong, s)
			all = append(all, fmt.Errorf("%s: %w", s, err))
		}
	}
	return errors.Join(all...)
}

func (e *edits) judge(s *specimen, u *unstructured.Unstructured) error {
	switch {
	case s.out != nil && u == nil:
		return errors.New("was deleted though it is opted out")
	case s.out != nil:
		if diff := cmp.Diff(s.out, content(u)); diff != "" {
			return fmt.Errorf("was written though it is opted out (-left +now):\n%s\nmanaged: %s", diff, managed(u))
		}
		return nil
	case s.value == "" && u != nil && !s.orphan:
		return errors.New("is still there")
	case s.value == "":
		return nil
	case u == nil:
		return errors.New("is not there")
	}
	if m := missing(wanted(e.t, s.manifest(s.name, s.value), s.app.namespace), u.Object); m != "" {
		return fmt.Errorf("an owned field: %s\nmanaged: %s", m, managed(u))
	}
	for _, kept := range s.kept {
		if m := missing(kept, u.Object); m != "" {
			return fmt.Errorf("a foreign field was lost: %s\nmanaged: %s", m, managed(u))
		}
	}
	for _, taken := range s.taken {
		if missing(taken, u.Object) == "" {
			return fmt.Errorf("what kubectl added is still there: %v\nmanaged: %s", taken, managed(u))
		}
	}
	return nil
}

func managed(u *unstructured.Unstructured) string {
	out, err := json.Marshal(u.GetManagedFields())
	if err != nil {
		return err.Error()
	}
	return string(out)
}
