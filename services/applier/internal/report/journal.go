package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// opener opens logs on the bus.
type opener interface {
	Open(ctx context.Context, subject string) (*bus.Log, error)
}

// Journal is the log of one object's applies.
type Journal struct {
	bus     opener
	log     *bus.Log
	cluster string
	subject string
	key     events.Key
	uid     string
	last    Entry
}

// Entry is the newest event of a journal; its zero value is an empty journal.
type Entry struct {
	Type string
	// Data is the event's data as JSON.
	Data []byte `json:"-"`
	events.Applied
}

// Open reads the journal of an object.
func Open(ctx context.Context, b opener, cluster string, ks *kustomizev1.Kustomization) (*Journal, error) {
	return OpenKey(ctx, b, cluster, events.NewKey(kustomizev1.KustomizationKind, ks.Namespace, ks.Name), string(ks.UID))
}

// OpenKey reads the journal of an object of any kind.
func OpenKey(ctx context.Context, b opener, cluster string, key events.Key, uid string) (*Journal, error) {
	j := &Journal{bus: b, cluster: cluster, subject: events.ApplySubject(cluster, key), key: key, uid: uid}
	return j, j.read(ctx)
}

func (j *Journal) read(ctx context.Context) error {
	log, err := j.bus.Open(ctx, j.subject)
	if err != nil {
		return fmt.Errorf("open journal of %s: %w", j.key, err)
	}
	j.log, j.last = log, Entry{}
	e, ok := log.Last()
	if !ok {
		return nil
	}
	entry := Entry{Type: e.Type(), Data: e.Data()}
	if err := json.Unmarshal(e.Data(), &entry); err == nil && entry.UID == j.uid {
		j.last = entry
	}
	return nil
}

// Last returns the newest entry; entries about an earlier object of the same name
// do not count.
func (j *Journal) Last() Entry { return j.last }

// Applied returns what every entry of an attempt begins with.
func (j *Journal) Applied(revision, renderID string) events.Applied {
	return events.Applied{Cluster: j.cluster, Object: j.key, UID: j.uid, Revision: revision, RenderID: renderID}
}

// Settled says whether the journal ends with the success of this attempt, drift
// that was put back since included.
func (j *Journal) Settled(revision, renderID string) bool {
	switch j.last.Type {
	case events.TypeApplySucceeded, events.TypeDriftDetected, events.TypeDriftCorrected, events.TypeDriftContested:
		return j.last.Revision == revision && j.last.RenderID == renderID
	}
	return false
}

// Write appends an entry. When another applier wrote in between, the entry goes
// after theirs: both did happen.
func (j *Journal) Write(ctx context.Context, data events.Data) error {
	err := j.append(ctx, data)
	if errors.Is(err, bus.ErrConflict) {
		if err := j.read(ctx); err != nil {
			return err
		}
		err = j.append(ctx, data)
	}
	if err != nil {
		return fmt.Errorf("write %s to journal of %s: %w", data.EventType(), j.key, err)
	}
	return nil
}

// Claim appends the entry that an attempt begins with. It returns bus.ErrConflict
// when another applier wrote since the journal was opened.
func (j *Journal) Claim(ctx context.Context, data events.ApplyProgressing) error {
	if err := j.append(ctx, data); err != nil {
		return fmt.Errorf("claim attempt in journal of %s: %w", j.key, err)
	}
	return nil
}

// Begun returns the attempt that the journal ends with: one that is under way, or
// whose applier died.
func (j *Journal) Begun() (renderID, revision string) {
	if j.last.Type != events.TypeApplyProgressing {
		return "", ""
	}
	return j.last.RenderID, j.last.Revision
}

// Made returns the objects that the attempt of Begun may have made and that the status
// does not list.
func (j *Journal) Made() []inventory.Entry {
	var begun events.ApplyProgressing
	if j.last.Type != events.TypeApplyProgressing || json.Unmarshal(j.last.Data, &begun) != nil {
		return nil // Begun says the same of what cannot be read: it has no render
	}
	refs := make([]cluster.Ref, 0, len(begun.Objects))
	for _, o := range begun.Objects {
		refs = append(refs, cluster.NewRef(schema.FromAPIVersionAndKind(o.APIVersion, o.Kind), o.Namespace, o.Name))
	}
	return inventory.OfRefs(refs)
}

func (j *Journal) append(ctx context.Context, data events.Data) error {
	e, err := events.New("applier", j.key, data, time.Now())
	if err != nil {
		return err
	}
	return j.log.Append(ctx, e)
}
