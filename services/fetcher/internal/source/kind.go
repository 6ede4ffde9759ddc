package source

import (
	"context"
	"io"
	"net/url"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// OriginRevision in an artifact's metadata names the revision that it was made from
// (OCI image specification, annotations).
const OriginRevision = "org.opencontainers.image.revision"

// Object is a custom resource of one of the kinds.
type Object = client.Object

// Watched is a kind whose objects are checked: when they change, when a hook names
// them, and when what they need changes. Its methods may be called concurrently.
type Watched interface {
	// Name is the kind as keys have it: in lower case.
	Name() string
	// New returns an empty object, and List an empty list, to read into.
	New() Object
	List() client.ObjectList
	// Needs names the other sources that the object's artifact is made from: when one
	// of them changes, this one is looked at.
	Needs(obj Object) []events.Key
}

// Kind is one kind of source that a pass looks at. Its methods may be called concurrently.
type Kind interface {
	Watched
	// State says where an object of the kind keeps what all kinds have.
	State(obj Object) State
	// Open asks the upstream for its revision, as cheaply as it can. It may set
	// conditions of its own and observed fields in the object's status, which is
	// written at the end of the pass. An *Error says what to tell; any other error
	// is a failed fetch.
	Open(ctx context.Context, key events.Key, obj Object) (*Upstream, error)
	// Observe notes in the status, after success, what the artifact was made from.
	Observe(obj Object)
}

// State points into an object.
type State struct {
	Suspend           bool
	Interval, Timeout time.Duration
	Conditions        *[]metav1.Condition
	// Negative are the conditions that only this kind has and that success removes.
	Negative           []string
	ObservedGeneration *int64
	// Handled is status.lastHandledReconcileAt.
	Handled  *string
	Artifact **meta.Artifact
	// URL is status.url, which names the newest artifact under Link; nil for a kind
	// that has none.
	URL  *string
	Link string
	// Static objects are only named by others: they have no artifact, no finalizer and
	// no status.
	Static bool
	// Host is the server that is asked, as HostOf has it; empty when none is.
	Host string
	// Road tells apart how the objects of a namespace ask it: by which proxy, with which
	// credentials.
	Road string
	// Via is a source whose Host is asked on its Road if it is Static; without a kind when
	// none is.
	Via events.Key
}

// RoadOf is the road of an object that names Secrets and a service account; each may be
// missing.
func RoadOf(account string, secrets ...*meta.LocalObjectReference) string {
	road := account
	for _, ref := range secrets {
		road += "/"
		if ref != nil {
			road += ref.Name
		}
	}
	return road
}

// HostOf returns the host of a URL as transport.HostOf does, empty when it names none.
func HostOf(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	return transport.HostOf(u)
}

// Upstream is what a source has now, before any of it is downloaded.
type Upstream struct {
	Revision string
	// News and Reason are what the status says while an artifact of a new revision is
	// made; "new upstream revision '<revision>'" and NewRevision when empty.
	News, Reason string
	// Changed says why an artifact of the same revision must be made anew; empty when
	// it need not.
	Changed string
	// Outdated is what ArtifactOutdated gives as its reason while that is done; the
	// condition is not set when empty.
	Outdated string
	// Fetch downloads the revision.
	Fetch func(ctx context.Context) (*Content, error)
	// Close ends what Open began; may be nil.
	Close func() error
}

// Content is what becomes an artifact.
type Content struct {
	// File is the last element of the artifact's path. It gets a mark when the artifact
	// before it was another one of the same revision.
	File string
	// Files are packed, except those that Ignore matches; nil when Raw is set.
	Files  []pack.File
	Ignore *pack.Ignore
	// Raw is stored as it is.
	Raw io.Reader
	// Metadata of the artifact; may be nil.
	Metadata map[string]string
	// Reason and Message are what the status says of the artifact; "Succeeded" and
	// "stored artifact for revision '<revision>'" when empty. A reason is the Kubernetes
	// Event's too, which is "NewArtifact" otherwise.
	Reason, Message string
	// Told is what the Kubernetes Event says; Message when empty.
	Told string
	// Summary is the first line of a commit's message, for subscribers.
	Summary string
	// Stored is called when the content is the artifact of the status, to note in the
	// status what it was made from; may be nil.
	Stored func()
	// Broken is told the error when the content could not be read to its end; may be nil.
	Broken func(error) error
	// Close gives back what the content holds; may be nil.
	Close func()
}

// Error says why a pass did not succeed.
type Error struct {
	// Condition that becomes True, such as FetchFailed, or False if it is SourceVerified,
	// and the reason of it and of Ready.
	Condition, Reason string
	Err               error
	// Stalled failures are not tried again before the object changes.
	Stalled bool
	// Wait is set when the object waits for something else: it is looked at again
	// then, and nothing is logged as an error.
	Wait time.Duration
}

// Error implements error.
func (f *Error) Error() string { return f.Err.Error() }

// Unwrap implements error.
func (f *Error) Unwrap() error { return f.Err }
