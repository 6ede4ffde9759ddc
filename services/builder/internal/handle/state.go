package handle

import (
	"context"
	"strconv"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/seal"
)

// What a head notes beside its fixed fields.
const (
	// detailRecipe is the version of the way builds are made.
	detailRecipe = "recipe"
	// detailInputs is a keyed digest of variables and decryption keys.
	detailInputs = "inputs"
	// detailSource is the resourceVersion of the source as it was read.
	detailSource = "sourceVersion"
)

// recipe changes when this program would render the same input differently, so
// that a new version builds everything once.
const recipe = "1"

// past is a successful build that the log holds.
type past struct {
	head seal.Head
	// last says that nothing followed it.
	last bool
}

// is says whether the build gave this render.
func (p *past) is(id string) bool { return p != nil && p.head.RenderID == id }

// read gets an object and its source, from the API server when the watches may be
// behind what somebody already knew.
func (j *job) read(ctx context.Context, note bus.Note, objects func(ctx context.Context, live bool) error) error {
	if err := objects(ctx, j.config.Live); err != nil {
		return err
	}
	if j.config.Live || !j.behind(note) {
		return nil
	}
	return objects(ctx, true)
}

// behind says that the watches may not have what the note's sender or the newest
// build's worker saw.
func (j *job) behind(note bus.Note) bool {
	if j.uid == "" {
		return true // the end of an object is worth a request
	}
	artifact := j.source.Artifact
	if note.Revision != "" && (artifact == nil || artifact.Revision != note.Revision) {
		return true
	}
	e, ok := j.log.Last()
	if !ok {
		return false
	}
	head, ok := headOf(j.ring, e, j.identity())
	return ok && (head.Generation > j.generation || older(j.source.Version, head.Details[detailSource]))
}

// older compares resource versions, which grow (KEP-5504); what is no number is
// taken for older.
func older(have, seen string) bool {
	if seen == "" || have == seen {
		return false
	}
	h, err1 := strconv.ParseUint(have, 10, 64)
	s, err2 := strconv.ParseUint(seen, 10, 64)
	return err1 != nil || err2 != nil || h < s
}

func (j *job) identity() seal.Identity {
	return seal.Identity{
		Cluster: j.config.Cluster, Kind: j.kind,
		Namespace: j.key.Namespace, Name: j.key.Name, UID: j.uid,
	}
}

// lastSuccess finds the newest successful build in the log, also behind failures.
func (j *job) lastSuccess(ctx context.Context) (*past, error) {
	e, ok := j.log.Last()
	if !ok {
		return nil, nil
	}
	if head, ok := headOf(j.ring, e, j.identity()); ok {
		return &past{head: head, last: true}, nil
	}
	if e.Type() != events.TypeBuildFailed {
		return nil, nil
	}
	history, err := j.Log.History(ctx, events.BuildSubject(j.config.Cluster, j.key))
	if err != nil {
		return nil, err
	}
	for i := len(history) - 1; i >= 0; i-- {
		if head, ok := headOf(j.ring, history[i], j.identity()); ok {
			return &past{head: head}, nil
		}
	}
	return nil, nil
}

// headOf returns the head of a successful build of an object; one that is not
// authentic, or of another object, is none.
func headOf(ring *seal.Keyring, e event.Event, id seal.Identity) (seal.Head, bool) {
	var token string
	switch e.Type() {
	case events.TypeBuildRendered:
		data, err := events.Decode[events.BuildRendered](e)
		if err != nil {
			return seal.Head{}, false
		}
		token = data.Head
	case events.TypeBuildUnchanged:
		data, err := events.Decode[events.BuildUnchanged](e)
		if err != nil {
			return seal.Head{}, false
		}
		token = data.Head
	default:
		return seal.Head{}, false
	}
	head, err := ring.VerifyHead(token, id)
	return head, err == nil
}

// sameInput says that a head was made from exactly the job's input.
func (j *job) sameInput(h seal.Head) bool {
	return h.SpecDigest == j.input.SpecDigest && h.SourceDigest == j.input.SourceDigest &&
		h.Revision == j.input.Revision && h.OriginRevision == j.input.OriginRevision &&
		h.Details[detailRecipe] == j.details[detailRecipe] && h.Details[detailInputs] == j.details[detailInputs]
}

// current says that the log's last event is the truth and its render is there and
// can be opened. A render that is not is built again.
func (j *job) current(ctx context.Context) (bool, error) {
	if j.newest == nil || !j.newest.last || !j.sameInput(j.newest.head) {
		return false, nil
	}
	err := j.stored(ctx, j.newest.head.RenderID)
	if isBroken(err) {
		j.memory.drop(j.key)
		j.config.Logger.Warn("the render is missing or damaged in storage, building it again", j.attrs("err", err)...)
		return false, nil
	}
	return err == nil, err
}

func hexOf(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex
}
