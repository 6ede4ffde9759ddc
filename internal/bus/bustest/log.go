package bustest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"go.opentelemetry.io/otel/trace"
)

func revisions(t *testing.T, b *bus.Bus, subject string) []string {
	t.Helper()
	history, err := b.History(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ids := map[string]bool{}
	for _, e := range history {
		data, err := events.Decode[events.SourceChanged](e)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, data.Revision)
		ids[e.ID()] = true
	}
	if len(ids) != len(history) {
		t.Errorf("%d events have %d ids", len(history), len(ids))
	}
	return out
}

func testLog(t *testing.T, env *env) {
	b := env.connect(t)
	subject := events.SourceSubject(repo("flux.system"))
	if _, err := b.History(t.Context(), "sluice.source.*.flux_system.>"); err == nil {
		t.Error("want no history of many subjects")
	}
	l := open(t, b, subject)
	if _, found := l.Last(); found || l.Sequence() != 0 {
		t.Fatalf("a subject without events has a last one at %d", l.Sequence())
	}
	before := uint64(0)
	for _, revision := range []string{"a", "b", "a"} {
		if err := l.Append(t.Context(), changed(t, repo("flux.system"), revision)); err != nil {
			t.Fatal(err)
		}
		if l.Sequence() <= before {
			t.Fatalf("sequence went from %d to %d", before, l.Sequence())
		}
		before = l.Sequence()
	}
	if diff := cmp.Diff([]string{"a", "b", "a"}, revisions(t, b, subject)); diff != "" {
		t.Error(diff)
	}
	again := open(t, b, subject)
	mine, _ := l.Last()
	last, found := again.Last()
	if !found || last.ID() != mine.ID() || again.Sequence() != l.Sequence() {
		t.Errorf("opened again: %v %q at %d, want %q at %d", found, last.ID(), again.Sequence(), mine.ID(), l.Sequence())
	}
	for range 20 {
		report(t, b, repo("flux.system"), "c")
	}
	if got := len(revisions(t, b, subject)); got != 16 {
		t.Errorf("the subject keeps %d events, want the newest 16", got)
	}
}

func testDuplicate(t *testing.T, env *env) {
	one, two := env.connect(t), env.connect(t)
	subject := events.SourceSubject(repo("podinfo"))
	report(t, one, repo("podinfo"), "before")
	first, second := open(t, one, subject), open(t, two, subject)
	if err := first.Append(t.Context(), changed(t, repo("podinfo"), "now")); err != nil {
		t.Fatal(err)
	}
	if err := second.Append(t.Context(), changed(t, repo("podinfo"), "now")); err != nil {
		t.Fatalf("the same decision again: %v", err)
	}
	if first.Sequence() != second.Sequence() {
		t.Errorf("one event at %d and %d", first.Sequence(), second.Sequence())
	}
	if diff := cmp.Diff([]string{"before", "now"}, revisions(t, one, subject)); diff != "" {
		t.Error(diff)
	}
}

func testConflict(t *testing.T, env *env) {
	one, two := env.connect(t), env.connect(t)
	subject := events.SourceSubject(repo("podinfo"))
	first, second := open(t, one, subject), open(t, two, subject)
	if err := first.Append(t.Context(), changed(t, repo("podinfo"), "first")); err != nil {
		t.Fatal(err)
	}
	err := second.Append(t.Context(), changed(t, repo("podinfo"), "second"))
	if !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("got %v, want a conflict", err)
	}
	if err := open(t, two, subject).Append(t.Context(), changed(t, repo("podinfo"), "second")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"first", "second"}, revisions(t, one, subject)); diff != "" {
		t.Error(diff)
	}
}

func testTrace(t *testing.T, env *env) {
	b := env.connect(t)
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	ctx := trace.ContextWithSpanContext(t.Context(), span)
	l := open(t, b, events.SourceSubject(repo("podinfo")))
	if err := l.Append(ctx, changed(t, repo("podinfo"), "a")); err != nil {
		t.Fatal(err)
	}
	last, _ := open(t, b, events.SourceSubject(repo("podinfo"))).Last()
	if got := trace.SpanContextFromContext(bus.ContextOf(t.Context(), last)); got.TraceID() != span.TraceID() {
		t.Errorf("trace is %s, want %s", got.TraceID(), span.TraceID())
	}
}
