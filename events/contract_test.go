package events_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/sluice-gitops/sluice/events"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 345_678_901, time.UTC)

func compile(t *testing.T, eventType string) *jsonschema.Schema {
	t.Helper()
	text, err := events.Schema(eventType)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, data []byte) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(value)
}

func newEvent(t *testing.T, data events.Data) event.Event {
	t.Helper()
	stage, object := origin(data.EventType())
	e, err := events.New(stage, object, data, noon)
	if err != nil {
		t.Fatal(err)
	}
	e.SetID(events.ID(e, "sluice.test", 7))
	e.SetExtension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	return e
}

// origin returns who reports a type, and about what.
func origin(eventType string) (stage string, object events.Key) {
	switch strings.Split(eventType, ".")[2] {
	case "hook":
		return "webhook", events.NewKey("Receiver", "flux-system", "github")
	case "source":
		return "fetcher", source
	case "build":
		return "builder", app
	}
	return "applier", app
}

// TestContract sends a sample of every type over headers and back, and holds it to
// its schema and to its golden file. UPDATE_GOLDEN=1 writes the golden files.
func TestContract(t *testing.T) {
	for i, data := range samples() {
		t.Run(data.EventType(), func(t *testing.T) {
			if want := events.Types()[i].EventType(); data.EventType() != want {
				t.Fatalf("sample %d is a %s, want %s", i, data.EventType(), want)
			}
			header, payload, err := events.ToHeaders(newEvent(t, data))
			if err != nil {
				t.Fatal(err)
			}
			e, err := events.FromHeaders(header, payload)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(t, compile(t, data.EventType()), e.Data()); err != nil {
				t.Error(err)
			}
			decoded := reflect.New(reflect.TypeOf(data))
			if err := json.Unmarshal(e.Data(), decoded.Interface()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(data, decoded.Elem().Interface()); diff != "" {
				t.Error(diff)
			}
			golden(t, e)
		})
	}
	if len(samples()) != len(events.Types()) {
		t.Errorf("%d samples of %d types", len(samples()), len(events.Types()))
	}
}

func golden(t *testing.T, e event.Event) {
	t.Helper()
	got, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := filepath.Join("testdata", e.Type()+".json")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

// TestSchemasNameEveryField compares fields and required fields of the Go types and
// of the schemas.
func TestSchemasNameEveryField(t *testing.T) {
	for _, data := range events.Types() {
		t.Run(data.EventType(), func(t *testing.T) {
			text, err := events.Schema(data.EventType())
			if err != nil {
				t.Fatal(err)
			}
			var schema struct {
				Properties map[string]any
				Required   []string
			}
			if err := json.Unmarshal(text, &schema); err != nil {
				t.Fatal(err)
			}
			all, required := fields(reflect.TypeOf(data))
			var named []string
			for name := range schema.Properties {
				named = append(named, name)
			}
			slices.Sort(named)
			slices.Sort(schema.Required)
			if diff := cmp.Diff(all, named); diff != "" {
				t.Error("properties", diff)
			}
			if diff := cmp.Diff(required, schema.Required); diff != "" {
				t.Error("required", diff)
			}
			if err := validate(t, compile(t, data.EventType()), []byte("{}")); err == nil {
				t.Error("an empty object passes")
			}
		})
	}
}

func fields(t reflect.Type) (all, required []string) {
	for _, f := range reflect.VisibleFields(t) {
		tag := f.Tag.Get("json")
		if tag == "" {
			continue // embedded
		}
		name, options, _ := strings.Cut(tag, ",")
		all = append(all, name)
		if options != "omitempty" {
			required = append(required, name)
		}
	}
	slices.Sort(all)
	slices.Sort(required)
	return all, required
}

func TestNoStrayFiles(t *testing.T) {
	for _, folder := range []string{"schemas", "testdata"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != len(events.Types()) {
			t.Errorf("%s holds %d files for %d types", folder, len(files), len(events.Types()))
		}
	}
}
