package events

// Applied says which object, cluster and revision an applier speaks of.
type Applied struct {
	Cluster string `json:"cluster"`
	Object  Key    `json:"object"`
	UID     string `json:"uid"`
	// Revision is the source revision that was applied or attempted.
	Revision string `json:"revision"`
	// RenderID is empty when no render was reached.
	RenderID string `json:"renderID,omitempty"`
}

// ObjectRef names a Kubernetes object in the target cluster.
type ObjectRef struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Namespace is empty for cluster-scoped objects.
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String returns Kind/namespace/name, or Kind/name for a cluster-scoped object.
func (r ObjectRef) String() string {
	if r.Namespace == "" {
		return r.Kind + "/" + r.Name
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

// Change is what happened to one object: created, configured or deleted.
type Change struct {
	Object ObjectRef `json:"object"`
	Action string    `json:"action"`
}

// ApplyProgressing says that an applier claimed the revision and began.
type ApplyProgressing struct {
	Applied
	// Attempt tells a claim in the journal from another one of the same; "" in others.
	Attempt string `json:"attempt,omitempty"`
	// Message is the message of the object's Reconciling condition.
	Message string `json:"message"`
	// Objects are those that the attempt may make and that the object's status does not
	// list yet: what is to be looked after if the applier dies.
	Objects []ObjectRef `json:"objects,omitempty"`
	// Wanted asks the builder for a render of a Helm release; nil when none is needed.
	Wanted *RenderWanted `json:"wanted,omitempty"`
}

// RenderWanted says what a Helm release has to be rendered for. Its templates may read both.
type RenderWanted struct {
	// Action is install or upgrade.
	Action string `json:"action"`
	// Revision is the one that the release gets in Helm's storage.
	Revision int `json:"revision"`
}

// ApplySucceeded says that the cluster equals the render, health included when
// it was asked for.
type ApplySucceeded struct {
	Applied
	// Changes lists changed objects only; empty when nothing had to change.
	Changes []Change `json:"changes,omitempty"`
	// Omitted is how many changes are left out, because an event has no room for more.
	Omitted int `json:"omitted,omitempty"`
	// DurationMS is how long the apply took, in milliseconds, waits included.
	DurationMS int64 `json:"durationMS"`
}

// ApplyFailed says that an attempt ended without success.
type ApplyFailed struct {
	Applied
	// Reason is the reason of the object's Ready condition.
	Reason string `json:"reason"`
	// Message names the object that failed and what the API server said.
	Message string `json:"message"`
	// Stalled is true when only a changed spec or source can help.
	Stalled bool `json:"stalled,omitempty"`
	// Changes lists what was changed before the failure.
	Changes []Change `json:"changes,omitempty"`
	// Omitted is how many changes are left out, because an event has no room for more.
	Omitted int `json:"omitted,omitempty"`
}

// Health says that the health of an applied revision is known or changed.
type Health struct {
	Applied
	Healthy bool `json:"healthy"`
	// Message is the message of the object's Healthy condition.
	Message string `json:"message"`
	// Waiting lists the objects that are not ready.
	Waiting []ObjectRef `json:"waiting,omitempty"`
	// Omitted is how many of them are left out, because an event has no room for more.
	Omitted int `json:"omitted,omitempty"`
}

// DriftDetected says that managed objects differ from the render. No objects mean
// that those differ no more which were reported before.
type DriftDetected struct {
	Applied
	Objects []ObjectRef `json:"objects"`
	// Differences says how the objects differ. It is given when drift is reported and
	// not put back, of at most 100 objects and 20 fields each.
	Differences []Difference `json:"differences,omitempty"`
	// Omitted is how many objects are left out, because an event has no room for more.
	Omitted int `json:"omitted,omitempty"`
}

// Difference is an object that differs from the render.
type Difference struct {
	Object ObjectRef `json:"object"`
	// Missing is true when there is no such object.
	Missing bool `json:"missing,omitempty"`
	// Fields are absent for a missing object, and for one that would be made anew.
	Fields []FieldDifference `json:"fields,omitempty"`
}

// FieldDifference is a field that differs from the render.
type FieldDifference struct {
	// Path is a JSON pointer.
	Path string `json:"path"`
	// Live and Wanted are the values as JSON, cut when they are long and masked in a
	// Secret. One that is absent is a field that is not there.
	Live   string `json:"live,omitempty"`
	Wanted string `json:"wanted,omitempty"`
	// Manager is the field manager that wrote the live value, when one is known.
	Manager string `json:"manager,omitempty"`
}

// DriftCorrected says that differing objects were put back.
type DriftCorrected struct {
	Applied
	Objects []ObjectRef `json:"objects"`
	// Omitted is how many objects are left out, because an event has no room for more.
	Omitted int `json:"omitted,omitempty"`
	// DurationMS is the time from detection to correction in milliseconds.
	DurationMS int64 `json:"durationMS"`
}

// DriftContested says that somebody else changes an object each time it was put
// back, or that this has ended. No values are told.
type DriftContested struct {
	Applied
	Contested ObjectRef `json:"contested"`
	// Fields are JSON pointers to what the other changes; none when it deletes the object.
	Fields []string `json:"fields,omitempty"`
	// Managers are the field managers of the fields, as far as the API server knows.
	Managers []string `json:"managers,omitempty"`
	// Reverts is how often in a row the object was put back so far.
	Reverts int `json:"reverts"`
	// Ended is true when the object has stayed as it was put back for a while.
	Ended bool `json:"ended,omitempty"`
}

// Pruned says that objects which left the render were deleted.
type Pruned struct {
	Applied
	Objects []ObjectRef `json:"objects"`
	// Omitted is how many objects are left out, because an event has no room for more.
	Omitted int `json:"omitted,omitempty"`
}

// EventType implements Data.
func (ApplyProgressing) EventType() string { return TypeApplyProgressing }

// EventType implements Data.
func (ApplySucceeded) EventType() string { return TypeApplySucceeded }

// EventType implements Data.
func (ApplyFailed) EventType() string { return TypeApplyFailed }

// EventType implements Data.
func (Health) EventType() string { return TypeHealth }

// EventType implements Data.
func (DriftDetected) EventType() string { return TypeDriftDetected }

// EventType implements Data.
func (DriftCorrected) EventType() string { return TypeDriftCorrected }

// EventType implements Data.
func (DriftContested) EventType() string { return TypeDriftContested }

// EventType implements Data.
func (Pruned) EventType() string { return TypePruned }
