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
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// headerPrefix and contentType are those of the NATS protocol binding for
// CloudEvents 1.0.2, binary content mode (section 3.1). NATS headers are case
// sensitive; in reading their case does not matter.
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
	body, err := Encode(data)
	if err != nil {
		return e, fmt.Errorf("%w, for %s", err, object)
	}
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = body
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
	header = map[string][]string{}
	set := func(name, value string) {
		if value != "" {
			header[name] = []string{percentEncode(value)}
		}
	}
	if media := e.DataContentType(); media != "" {
		if strings.ContainsFunc(media, unicode.IsControl) {
			return nil, nil, fmt.Errorf("encode event %q: content type %q holds control characters", e.ID(), media)
		}
		header[contentType] = []string{media}
	}
	set(headerPrefix+"specversion", e.SpecVersion())
	set(headerPrefix+"id", e.ID())
	set(headerPrefix+"type", e.Type())
	set(headerPrefix+"source", e.Source())
	set(headerPrefix+"subject", e.Subject())
	set(headerPrefix+"dataschema", e.DataSchema())
	if !e.Time().IsZero() {
		set(headerPrefix+"time", e.Time().UTC().Format(time.RFC3339Nano))
	}
	for name, value := range e.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			return nil, nil, fmt.Errorf("encode extension %s of event %q: %w", name, e.ID(), err)
		}
		set(headerPrefix+name, text)
	}
	return header, e.Data(), nil
}

// percentEncode escapes what may not stand in a header value: the HTTP binding,
// section 3.1.3.2, names space, double quote, percent and all that is not
// printable ASCII.
func percentEncode(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// FromHeaders reads an event from NATS headers and payload. A message that is no
// valid CloudEvent is an error; it can never become one by retrying.
func FromHeaders(header map[string][]string, payload []byte) (event.Event, error) {
	e := event.New(event.CloudEventsVersionV1)
	e.SetDataContentType(event.ApplicationJSON)
	seen := map[string]bool{}
	for name, values := range header {
		attribute, ok := attributeOf(name)
		if !ok || len(values) == 0 {
			continue
		}
		if len(values) > 1 || seen[attribute] {
			return e, fmt.Errorf("decode event: header %s is there more than once", name)
		}
		seen[attribute] = true
		value := values[0]
		if attribute != "datacontenttype" {
			var err error
			if value, err = url.PathUnescape(value); err != nil {
				return e, fmt.Errorf("decode event header %s: %w", name, err)
			}
		}
		if err := setAttribute(&e, attribute, value); err != nil {
			return e, err
		}
	}
	if !seen["specversion"] {
		return e, fmt.Errorf("decode event: header %sspecversion is missing", headerPrefix)
	}
	e.DataEncoded = payload
	if err := e.Validate(); err != nil {
		return e, fmt.Errorf("decode event %q: %w", e.ID(), err)
	}
	return e, nil
}

// attributeOf returns the attribute that a header carries, and whether it does.
func attributeOf(header string) (string, bool) {
	if strings.EqualFold(header, contentType) {
		return "datacontenttype", true
	}
	return strings.CutPrefix(strings.ToLower(header), headerPrefix)
}

func setAttribute(e *event.Event, name, value string) error {
	switch name {
	case "datacontenttype":
		e.SetDataContentType(value)
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
