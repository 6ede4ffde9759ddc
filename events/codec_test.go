package events_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-gitops/sluice/events"
)

func TestHeaders(t *testing.T) {
	e := newEvent(t, events.SourceFailed{Source: source, Message: "x"})
	e.SetExtension("note", "50 % \"naïve\"\r\nnext")
	header, payload, err := events.ToHeaders(e)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"Content-Type": {"application/json"}, "ce-specversion": {"1.0"}, "ce-id": {e.ID()},
		"ce-type": {"dev.sluice.source.failed.v1"}, "ce-source": {"/sluice/fetcher"}, "ce-subject": {"gitrepository/flux-system/fleet.main"},
		"ce-time":        {"2026-01-02T12:00:00.345678901Z"},
		"ce-traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"ce-note":        {"50%20%25%20%22na%C3%AFve%22%0D%0Anext"},
	}
	if diff := cmp.Diff(want, header); diff != "" {
		t.Error(diff)
	}
	back, err := events.FromHeaders(header, payload)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e.String(), back.String()); diff != "" {
		t.Error(diff)
	}
}

func TestMalformed(t *testing.T) {
	header, payload, err := events.ToHeaders(newEvent(t, events.SourceFailed{Source: source}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ reason, name, value string }{
		{"no version", "ce-specversion", ""},
		{"a version this code does not know", "ce-specversion", "0.3"},
		{"no id", "ce-id", ""},
		{"no type", "ce-type", ""},
		{"no source", "ce-source", ""},
		{"a broken escape", "ce-subject", "%zz"},
		{"a time that is none", "ce-time", "yesterday"},
		{"an extension name outside the spec", "ce-a_b", "x"},
		{"the same attribute twice", "CE-ID", "x"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			h := maps.Clone(header)
			delete(h, c.name)
			if c.value != "" {
				h[c.name] = []string{c.value}
			}
			if e, err := events.FromHeaders(h, payload); err == nil {
				t.Errorf("got %v, want an error", e)
			}
		})
	}
	if _, err := events.FromHeaders(nil, nil); err == nil {
		t.Error("an empty message is an event")
	}
}

func TestDecode(t *testing.T) {
	e := newEvent(t, events.SourceFailed{Source: source})
	if data, err := events.Decode[events.SourceFailed](e); err != nil || data.Source != source {
		t.Errorf("got %v, %v", data, err)
	}
	if _, err := events.Decode[events.SourceChanged](e); err == nil {
		t.Error("decoded as another type")
	}
	e.DataEncoded = []byte("{")
	if _, err := events.Decode[events.SourceFailed](e); err == nil {
		t.Error("decoded half an object")
	}
}

func TestID(t *testing.T) {
	e := newEvent(t, events.SourceFailed{Source: source})
	other := newEvent(t, events.SourceFailed{Source: app})
	id := events.ID(e, "sluice.a", 1)
	e.SetID("another")
	e.SetExtension("traceparent", "")
	if events.ID(e, "sluice.a", 1) != id {
		t.Error("the id of one decision depends on more than type, subject, place and content")
	}
	for reason, got := range map[string]string{
		"place": events.ID(e, "sluice.a", 2), "subject": events.ID(e, "sluice.b", 1), "content": events.ID(other, "sluice.a", 1),
		"boundary": events.ID(e, "sluice.a1", 0),
	} {
		if got == id {
			t.Errorf("another %s has the same id", reason)
		}
	}
}

// FuzzFromHeaders expects that whatever is read as an event can be written and read
// again.
func FuzzFromHeaders(f *testing.F) {
	f.Add("ce-specversion: 1.0\nce-id: 1\nce-type: t\nce-source: /s\nce-time: 2026-01-02T12:00:00Z\nContent-Type: application/json", []byte("{}"))
	f.Add("ce-specversion: 1.0\nce-id: %20\nce-type: t\nce-source: /s\nce-x: %C3%A9\nce-datacontenttype: a/b", []byte(nil))
	f.Add("ce-specversion: 1.0\nCE-ID: 1\nce-id: 2\nce-dataschema: ::", []byte("x"))
	f.Fuzz(func(t *testing.T, headers string, payload []byte) {
		header := map[string][]string{}
		for line := range strings.SplitSeq(headers, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			header[name] = append(header[name], value)
		}
		e, err := events.FromHeaders(header, payload)
		if err != nil {
			return
		}
		again, body, err := events.ToHeaders(e)
		if err != nil {
			return // valid to read, yet not to send
		}
		for name, values := range again {
			if strings.ContainsAny(name+values[0], "\r\n") {
				t.Fatalf("header %q: %q breaks the line", name, values[0])
			}
		}
		back, err := events.FromHeaders(again, body)
		if err != nil {
			t.Fatalf("written and read again: %v\n%v", err, again)
		}
		if diff := cmp.Diff(e.String(), back.String()); diff != "" {
			t.Fatal(diff)
		}
	})
}
