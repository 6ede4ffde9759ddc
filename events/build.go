package events

// BuildInput says what a build was made from.
type BuildInput struct {
	// Cluster is where the output goes.
	Cluster string `json:"cluster"`
	Object  Key    `json:"object"`
	UID     string `json:"uid"`
	// Revision and SourceDigest are those of the source's status in the API server.
	Revision     string `json:"revision"`
	SourceDigest string `json:"sourceDigest"`
	// OriginRevision is empty when the artifact's metadata names none.
	OriginRevision string `json:"originRevision,omitempty"`
	// SpecDigest is the digest of the object's spec, sha256:<hex>.
	SpecDigest string `json:"specDigest"`
}

// BuildRendered says that a new render is in storage.
type BuildRendered struct {
	BuildInput
	// RenderID is the content id of the render: equal output has an equal id, and
	// nobody without the naming key can guess content from it.
	RenderID string `json:"renderID"`
	// Render is the sealed render's name in object storage.
	Render string `json:"render"`
	// Head is the authenticated head an applier verifies before it opens the render.
	Head string `json:"head"`
	// Objects is how many Kubernetes objects the render holds.
	Objects int `json:"objects"`
	// DurationMS is how long the build took, in milliseconds.
	DurationMS int64 `json:"durationMS"`
}

// BuildUnchanged says that a new revision or spec leads to the render that is
// already there: the head moved, the render did not.
type BuildUnchanged struct {
	BuildRendered
}

// BuildFailed says that an object could not be built; what runs stays as it is.
type BuildFailed struct {
	BuildInput
	// Reason is the reason the object's Ready condition gets.
	Reason string `json:"reason"`
	// Message names the file or field and what is wrong with it.
	Message string `json:"message"`
	// Stalled is true when only a changed spec or source can help.
	Stalled bool `json:"stalled,omitempty"`
}

// EventType implements Data.
func (BuildRendered) EventType() string { return TypeBuildRendered }

// EventType implements Data.
func (BuildUnchanged) EventType() string { return TypeBuildUnchanged }

// EventType implements Data.
func (BuildFailed) EventType() string { return TypeBuildFailed }
