package served

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
)

// asker asks the applier. *bus.Bus is one.
type asker interface {
	Ask(ctx context.Context, subject string, question []byte) ([]byte, error)
}

// Lookup has the applier look things up with the rights of an object's service account. Its
// answer is sealed for the object and for just this question.
func (r *Reader) Lookup(ctx context.Context, ring *seal.Keyring, id seal.Identity, lookups []render.Lookup) ([]render.Found, error) {
	key := events.NewKey(id.Kind, id.Namespace, id.Name)
	question, err := json.Marshal(render.LookupQuestion{Nonce: rand.Text(), Object: key, UID: id.UID, Lookups: lookups})
	if err != nil {
		return nil, fmt.Errorf("look up for %s: %w", key, err)
	}
	sealed, err := r.bus.Ask(ctx, events.AskSubject(id.Cluster, key), question)
	if err != nil {
		return nil, fmt.Errorf("look up for %s: %w", key, err)
	}
	plain, err := ring.Open(id, ring.ContentID(question), sealed)
	if err != nil {
		return nil, fmt.Errorf("look up for %s: %w", key, err)
	}
	var found []render.Found
	if err := json.Unmarshal(plain, &found); err != nil {
		return nil, fmt.Errorf("look up for %s: %w", key, err)
	}
	if len(found) != len(lookups) {
		return nil, fmt.Errorf("look up for %s: %d answers to %d lookups", key, len(found), len(lookups))
	}
	return found, nil
}
