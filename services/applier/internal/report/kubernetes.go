package report

import (
	"fmt"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/recorder"
)

// Keys of the metadata on Kubernetes Events, as Flux's tools read them.
const (
	keyRevision       = "kustomize.toolkit.fluxcd.io/revision"
	keyOriginRevision = "kustomize.toolkit.fluxcd.io/originRevision"
	keyCommitStatus   = "kustomize.toolkit.fluxcd.io/commit_status"
	commitStatus      = "update"
	// Component is the source of the Kubernetes Events, the one that Flux users
	// filter by.
	Component = "kustomize-controller"
	// eventPrefix marks annotations of the object that its events carry too.
	eventPrefix = "event.toolkit.fluxcd.io/"
	// MaxMessage is how many bytes of an Event's message the recorder leaves as they are.
	MaxMessage = recorder.MaxMessage
)

const (
	// ReasonTerminating is the reason of the Event that names deleted objects that do
	// not go.
	ReasonTerminating = "Terminating"
	// LingerAfter is how long a deleted object may take to go before that is told.
	LingerAfter = 10 * time.Second
)

// Recorder writes Kubernetes Events, in the background and without retry: they
// are for people, nothing depends on them.
type Recorder struct {
	Events record.EventRecorder
}

// Note is one Kubernetes Event about an object at a revision.
type Note struct {
	Reason, Message          string
	Revision, OriginRevision string
	Warning                  bool
	// Commit marks the event that ends a pass, from which the commit's status at
	// the Git provider is made.
	Commit bool
}

// Tell writes a Kubernetes Event.
func (r Recorder) Tell(ks *kustomizev1.Kustomization, n Note) {
	metadata := map[string]string{}
	for k, v := range ks.Annotations {
		if strings.HasPrefix(k, eventPrefix) {
			metadata[k] = v
		}
	}
	if n.Revision != "" {
		metadata[keyRevision] = n.Revision
	}
	if n.OriginRevision != "" {
		metadata[keyOriginRevision] = n.OriginRevision
	}
	if n.Commit {
		metadata[keyCommitStatus] = commitStatus
	}
	kind := corev1.EventTypeNormal
	if n.Warning {
		kind = corev1.EventTypeWarning
	}
	r.Events.AnnotatedEventf(ks, metadata, kind, n.Reason, "%s", n.Message)
}

// Changes writes one line for each changed object.
func Changes(changes []events.Change) string {
	lines := make([]string, 0, len(changes))
	for _, c := range changes {
		lines = append(lines, c.Object.String()+" "+c.Action)
	}
	return strings.Join(lines, "\n")
}

// Finished is the message that ends a successful pass.
func Finished(took, interval time.Duration) string {
	return fmt.Sprintf("Reconciliation finished in %s, next run in %s", took.Round(time.Millisecond), interval)
}

// Differences writes what differs, an object a line.
func Differences(found []events.Difference) string {
	lines := make([]string, 0, len(found))
	for _, d := range found {
		line := d.Object.String()
		switch {
		case d.Missing:
			line += " is missing"
		case len(d.Fields) == 0:
			line += " differs in what cannot be changed in place"
		default:
			fields := make([]string, 0, len(d.Fields))
			for _, f := range d.Fields {
				text := fmt.Sprintf("%s is %s, not %s", f.Path, orNone(f.Live), orNone(f.Wanted))
				if f.Manager != "" {
					text += " (by " + f.Manager + ")"
				}
				fields = append(fields, text)
			}
			line += " differs: " + strings.Join(fields, "; ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func orNone(value string) string {
	if value == "" {
		return "absent"
	}
	return value
}
