package events

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// headerPrefix and contentType are those of the NATS protocol binding for
// CloudEvents 1.0.2, binary content mode (section 3.1).
const (
	headerPrefix = "ce-"
	contentType  = "Content-Type"
)

// New returns an event of data's type from stage about object. Its id is set when
// it is published, because the id depends on what the subject held before.
func New(stage string, object Key, data Data, now time.Time) (event.Event, error) {
	e := event.New(event.CloudEventsVersionV1)
	e.SetType(data.EventType())
	e.SetSource("/sluice/" + stage)
	e.SetSubject(object.String())
	e.SetTime(now.UTC())
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		return e, fmt.Errorf("encode %s for %s: %w", data.EventType(), object, err)
	}
	return e, nil
}

// ID returns the deterministic id of an event: a hash of its type, its NATS
// subject, the sequence of the message it follows on that subject, and its
// content. The same decision made twice has one id; an A→B→A change has three.
func ID(e event.Event, subject string, after uint64) string {
	h := sha256.New()
	for _, part := range []string{e.Type(), subject, strconv.FormatUint(after, 10)} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	h.Write(e.Data())
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Decode returns an event's data as T. It fails when the event is of another type
// or its data is not valid.
func Decode[T Data](e event.Event) (T, error) {
	var data T
	if e.Type() != data.EventType() {
		return data, fmt.Errorf("decode event %s: type is %s, want %s", e.ID(), e.Type(), data.EventType())
	}
	if err := json.Unmarshal(e.Data(), &data); err != nil {
		return data, fmt.Errorf("decode event %s of type %s: %w", e.ID(), e.Type(), err)
	}
	return data, nil
}

// ToHeaders binds an event to NATS headers and payload in binary content mode.
func ToHeaders(e event.Event) (header map[string][]string, payload []byte, err error) {
	if err := e.Validate(); err != nil {
		return nil, nil, fmt.Errorf("encode event %q: %w", e.ID(), err)
	}
	header = map[string][]string{contentType: {e.DataContentType()}}
	set := func(name, value string) {
		if value != "" {
			header[headerPrefix+name] = []string{url.PathEscape(value)}
		}
	}
	set("specversion", e.SpecVersion())
	set("id", e.ID())
	set("type", e.Type())
	set("source", e.Source())
	set("subject", e.Subject())
	set("dataschema", e.DataSchema())
	if !e.Time().IsZero() {
		set("time", e.Time().UTC().Format(time.RFC3339Nano))
	}
	for name, value := range e.Extensions() {
		set(name, fmt.Sprint(value))
	}
	return header, e.Data(), nil
}

// FromHeaders reads an event from NATS headers and payload. A message that is no
// valid CloudEvent is an error; it can never become one by retrying.
func FromHeaders(header map[string][]string, payload []byte) (event.Event, error) {
	e := event.New(event.CloudEventsVersionV1)
	for name, values := range header {
		attribute, ok := strings.CutPrefix(strings.ToLower(name), headerPrefix)
		if !ok || len(values) == 0 {
			continue
		}
		value, err := url.PathUnescape(values[0])
		if err != nil {
			return e, fmt.Errorf("decode event header %s: %w", name, err)
		}
		if err := setAttribute(&e, attribute, value); err != nil {
			return e, err
		}
	}
	media := event.ApplicationJSON
	if v := header[contentType]; len(v) > 0 && v[0] != "" {
		media = v[0]
	}
	e.SetDataContentType(media)
	e.DataEncoded = payload
	if err := e.Validate(); err != nil {
		return e, fmt.Errorf("decode event %q: %w", e.ID(), err)
	}
	return e, nil
}

func setAttribute(e *event.Event, name, value string) error {
	switch name {
	case "specversion":
		if value != event.CloudEventsVersionV1 {
			return fmt.Errorf("decode event: specversion is %q, want %q", value, event.CloudEventsVersionV1)
		}
	case "id":
		e.SetID(value)
	case "type":
		e.SetType(value)
	case "source":
		e.SetSource(value)
	case "subject":
		e.SetSubject(value)
	case "dataschema":
		e.SetDataSchema(value)
	case "time":
		t, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			return fmt.Errorf("decode event time %q: %w", value, err)
		}
		e.SetTime(t)
	default:
		e.SetExtension(name, value)
	}
	return nil
}
