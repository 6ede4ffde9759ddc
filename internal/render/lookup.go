package render

import (
	"encoding/json"

	"github.com/sluice-gitops/sluice/events"
)

// Lookup is what a template looks up in the cluster: one object, or all of a kind when it has no
// name.
type Lookup struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name,omitempty"`
}

// Found is what a lookup found.
type Found struct {
	Lookup
	// Object is an object or a list; there is none when nothing was found.
	Object json.RawMessage `json:"object,omitempty"`
	// Error says why it could not be looked up.
	Error string `json:"error,omitempty"`
}

// Question is what a builder asks an applier about the cluster of an object. Who answers takes
// cluster and rights from the object in the API server, and seals the answer for the object and for the
// question's content id.
type Question struct {
	// Nonce makes each question another one.
	Nonce   string     `json:"nonce"`
	Object  events.Key `json:"object"`
	UID     string     `json:"uid"`
	Lookups []Lookup   `json:"lookups,omitempty"`
	// Served asks what the cluster serves.
	Served bool `json:"served,omitempty"`
	// Previous asks for the values of the revision that an upgrade upgrades.
	Previous bool `json:"previous,omitempty"`
}

// MaxMessage is how many bytes a question may have, what lookups find before that is packed, and an answer as it is sent: NATS carries one
// MiB.
const MaxMessage = 900 << 10

// Previous is what an upgrade that preserves values takes over of the revision before.
type Previous struct {
	// Config are the values that were set, Values those together with its chart's defaults.
	Config map[string]any `json:"config,omitempty"`
	Values map[string]any `json:"values,omitempty"`
}

// Answer is the answer to a Question.
type Answer struct {
	// Found answers the lookups, in their order.
	Found []Found `json:"found,omitempty"`
	// Served is what the cluster serves.
	Served *Served `json:"served,omitempty"`
	// Previous is empty when there is no revision before.
	Previous *Previous `json:"previous,omitempty"`
	// Unavailable says why there is no answer for now, because the cluster gives none. The
	// applier tells people.
	Unavailable string `json:"unavailable,omitempty"`
	// Busy says that the cluster is to be asked again soon.
	Busy bool `json:"busy,omitempty"`
	// TooLarge says what has no room in an answer, and what helps.
	TooLarge string `json:"tooLarge,omitempty"`
	// Refused says why the cluster does not say what it serves, which its users have to mend.
	Refused string `json:"refused,omitempty"`
}
