package builder_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-gitops/sluice/events"
)

// manyApps is how many Kustomizations of one repository the benchmark has.
const manyApps = 300

// BenchmarkRevisionOfMany measures from the event of a new revision, that changes
// every app, to the last app's build event; and the same for a revision that
// changes one app.
func BenchmarkRevisionOfMany(b *testing.B) {
	w := newWorld(b)
	w.start(nil)
	a := w.newApp(b, func(ks *kustomizev1.Kustomization) { ks.Spec.Path = "apps/0" })
	for i := 1; i < manyApps; i++ {
		other := *a
		other.name = fmt.Sprint("app-", i)
		other.create(func(ks *kustomizev1.Kustomization) { ks.Spec.Path = fmt.Sprint("apps/", i) })
	}
	content := map[string]string{}
	change := func(i int, value string) {
		content[fmt.Sprintf("apps/%d/kustomization.yaml", i)] = "namespace: x\nresources: [a.yaml, b.yaml, c.yaml, d.yaml, e.yaml]\n"
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			content[fmt.Sprintf("apps/%d/%s.yaml", i, name)] = configMap(fmt.Sprint(name, i), value)
		}
	}
	watch := w.builds(b)
	push := func(revision string) (first, median, last time.Duration) {
		a.pushQuietly(revision, content)
		began := time.Now()
		a.announce()
		var took []time.Duration
		for len(took) < manyApps {
			if d := <-watch; d == revision {
				took = append(took, time.Since(began))
			}
		}
		slices.Sort(took)
		return took[0], took[manyApps/2], took[manyApps-1]
	}
	for n := 0; b.Loop(); n++ {
		for i := range manyApps {
			change(i, fmt.Sprint("v", n))
		}
		first, median, last := push(fmt.Sprint("all@sha1:", n))
		b.Logf("all %d changed: first %v, median %v, last %v", manyApps, first, median, last)
		change(7, fmt.Sprint("one", n))
		first, median, last = push(fmt.Sprint("one@sha1:", n))
		b.Logf("one of %d changed: first %v, median %v, last %v", manyApps, first, median, last)
	}
}

// builds returns the revisions of successful builds as they are published.
func (w *world) builds(b *testing.B) <-chan string {
	b.Helper()
	js, err := jetStream(w)
	if err != nil {
		b.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(b.Context(), "EVENTS", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"sluice.build.>"}})
	if err != nil {
		b.Fatal(err)
	}
	out := make(chan string, 10*manyApps)
	running, err := consumer.Consume(func(m jetstream.Msg) {
		e, err := events.FromHeaders(m.Headers(), m.Data())
		if err != nil || e.Type() == events.TypeBuildFailed {
			return
		}
		var input events.BuildInput
		if err := e.DataAs(&input); err == nil {
			out <- input.Revision
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(running.Stop)
	return out
}
