package events_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/events"
)

// Any number of objects may be changed, and that is told: a message has room for 1 MiB.
func TestLongListsAreCut(t *testing.T) {
	const objects = 20_000
	var refs []events.ObjectRef
	var changes []events.Change
	var differences []events.Difference
	for n := range objects {
		ref := events.ObjectRef{APIVersion: "v1", Kind: "ConfigMap", Namespace: "apps", Name: fmt.Sprint(strings.Repeat("n", n%200), n)}
		refs, changes = append(refs, ref), append(changes, events.Change{Object: ref, Action: "configured"})
	}
	for _, ref := range refs[:100] {
		differences = append(differences, events.Difference{Object: ref, Fields: []events.FieldDifference{{Path: strings.Repeat("/p", 10_000)}}})
	}
	applied := events.Applied{Cluster: "hub", Object: app, UID: uid, Revision: revision, RenderID: "c2f1"}
	for _, data := range []events.Data{
		events.ApplySucceeded{Applied: applied, Changes: changes},
		events.ApplyFailed{Applied: applied, Message: strings.Repeat("m", 16<<10), Changes: changes},
		events.Health{Applied: applied, Waiting: refs},
		events.DriftDetected{Applied: applied, Objects: refs},
		events.DriftDetected{Applied: applied, Objects: refs[:200], Differences: differences},
		events.DriftCorrected{Applied: applied, Objects: refs},
		events.DriftContested{Applied: applied, Fields: strings.Split(strings.Repeat("/spec/a/field ", 100_000), " ")},
		events.Pruned{Applied: applied, Objects: refs},
	} {
		e := newEvent(t, data)
		if size := len(e.Data()); size > 1<<20-64<<10 || size < 300<<10 {
			t.Errorf("%s has %d bytes", data.EventType(), size)
		}
		if err := validate(t, compile(t, data.EventType()), e.Data()); err != nil {
			t.Error(err)
		}
		if reflect.TypeOf(data) == reflect.TypeOf(events.DriftContested{}) {
			continue
		}
		var told struct {
			Changes, Objects, Waiting []json.RawMessage
			Omitted                   int
		}
		if err := json.Unmarshal(e.Data(), &told); err != nil {
			t.Fatal(err)
		}
		all := objects
		if d, ok := data.(events.DriftDetected); ok {
			all = len(d.Objects)
		}
		if n := len(told.Changes) + len(told.Objects) + len(told.Waiting); n+told.Omitted != all || all == objects && told.Omitted == 0 {
			t.Errorf("%s names %d objects and omits %d of %d", data.EventType(), n, told.Omitted, all)
		}
	}
	if _, err := events.New("applier", app, events.ApplyFailed{Message: strings.Repeat("m", 1<<20)}, noon); err == nil {
		t.Error("an event that is too large without its list is none")
	}
}
