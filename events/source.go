package events

import "strings"

// ArtifactFolder is where the artifacts of all sources are in object storage.
const ArtifactFolder = "artifacts/"

// ArtifactName is the name in object storage of a source's artifact with a digest of the form
// sha256:<hex>, whatever it holds.
func ArtifactName(source Key, digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return ArtifactFolder + source.String() + "/" + hex + ".tar.gz"
}

// SourceChanged says that a source's artifact moved: another revision, or the
// same revision with other content (an ignore rule changed, say). The artifact
// is in storage and in the source's status before this is published.
type SourceChanged struct {
	Source Key    `json:"source"`
	UID    string `json:"uid"`
	// Revision is the human-traceable revision, such as main@sha1:<commit>.
	Revision string `json:"revision"`
	// PreviousRevision is empty for the first artifact of a source.
	PreviousRevision string `json:"previousRevision,omitempty"`
	// OriginRevision is the revision in the system the artifact was made from,
	// when the artifact's metadata names one.
	OriginRevision string `json:"originRevision,omitempty"`
	// Digest is the artifact's content digest, sha256:<hex>.
	Digest string `json:"digest"`
	// Artifact is the artifact's name in object storage.
	Artifact string `json:"artifact"`
	// Path is where the fetcher serves the artifact, as in the source's status.
	Path string `json:"path,omitempty"`
	// Size of the artifact in bytes.
	Size int64 `json:"size"`
	// Summary is the first line of the commit message, 50 characters at most.
	Summary string `json:"summary,omitempty"`
}

// SourceFailed says that a source could not be fetched; the last good artifact stays.
type SourceFailed struct {
	Source Key    `json:"source"`
	UID    string `json:"uid"`
	// Reason is the reason of the source's Ready condition.
	Reason string `json:"reason"`
	// Message says what failed and what to do, without credentials.
	Message string `json:"message"`
	// Stalled is true when only a changed spec can help.
	Stalled bool `json:"stalled,omitempty"`
}

// EventType implements Data.
func (SourceChanged) EventType() string { return TypeSourceChanged }

// EventType implements Data.
func (SourceFailed) EventType() string { return TypeSourceFailed }
