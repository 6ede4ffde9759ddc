package served

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/builder/internal/helm"
)

// ErrUnavailable says that the cluster of an object gives no answer for now. The applier, which
// found that out, tells people and asks for the render once the cluster answers.
var ErrUnavailable = errors.New("the cluster gives no answer")

// ErrBusy says that the cluster of an object is to be asked again soon.
var ErrBusy = errors.New("the cluster is busy")

// RefusedError says why the cluster of an object does not say what it serves.
type RefusedError struct{ text string }

// Error implements error.
func (r *RefusedError) Error() string { return r.text }

// LimitError says what has no room in a question or an answer, and what helps.
type LimitError struct{ text string }

// Error implements error.
func (l *LimitError) Error() string { return l.text }

// asker asks the applier. *bus.Bus is one.
type asker interface {
	Ask(ctx context.Context, subject string, question []byte) ([]byte, error)
}

// Remote asks the applier what the cluster of an object serves: only the applier reaches it.
func (r *Reader) Remote(ctx context.Context, ring *seal.Keyring, id seal.Identity) (helm.Cluster, error) {
	answer, err := r.ask(ctx, ring, id, render.Question{Served: true})
	if err == nil && answer.Served == nil {
		err = errors.New("the answer does not say")
	}
	if err != nil {
		return helm.Cluster{}, fmt.Errorf("ask what the cluster of %s/%s serves: %w", id.Namespace, id.Name, err)
	}
	return helm.Cluster(*answer.Served), nil
}

// Previous asks the applier for the values of the revision that an upgrade upgrades.
func (r *Reader) Previous(ctx context.Context, ring *seal.Keyring, id seal.Identity) (*render.Previous, error) {
	answer, err := r.ask(ctx, ring, id, render.Question{Previous: true})
	if err == nil && answer.Previous == nil {
		err = errors.New("the answer does not say")
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the previous values of %s/%s: %w", id.Namespace, id.Name, err)
	}
	return answer.Previous, nil
}

// Lookup has the applier look things up with the rights of an object's service account. It asks nothing, and returns a
// *LimitError, when they are more than a question has room for.
func (r *Reader) Lookup(ctx context.Context, ring *seal.Keyring, id seal.Identity, lookups []render.Lookup) ([]render.Found, error) {
	answer, err := r.ask(ctx, ring, id, render.Question{Lookups: lookups})
	if err == nil && len(answer.Found) != len(lookups) {
		err = fmt.Errorf("%d answers to %d lookups", len(answer.Found), len(lookups))
	}
	if err != nil {
		return nil, fmt.Errorf("look up for %s/%s: %w", id.Namespace, id.Name, err)
	}
	return answer.Found, nil
}

// ask asks a question about an object's cluster. Its answer is sealed for the object and for just
// this question.
func (r *Reader) ask(ctx context.Context, ring *seal.Keyring, id seal.Identity, q render.Question) (render.Answer, error) {
	q.Nonce, q.Object, q.UID = rand.Text(), events.NewKey(id.Kind, id.Namespace, id.Name), id.UID
	question, err := json.Marshal(q)
	if err != nil {
		return render.Answer{}, err
	}
	if len(question) > render.MaxMessage {
		return render.Answer{}, &LimitError{fmt.Sprintf("its templates look up %d objects or lists at once, which take %d bytes to name, more than %d: look up lists, or fewer objects",
			len(q.Lookups), len(question), render.MaxMessage)}
	}
	sealed, err := r.bus.Ask(ctx, events.AskSubject(id.Cluster, q.Object), question)
	if err != nil {
		return render.Answer{}, err
	}
	plain, err := ring.Open(id, ring.ContentID(question), sealed)
	if err != nil {
		return render.Answer{}, err
	}
	var answer render.Answer
	if err := json.Unmarshal(plain, &answer); err != nil {
		return render.Answer{}, err
	}
	switch {
	case answer.Refused != "":
		return render.Answer{}, &RefusedError{answer.Refused}
	case answer.TooLarge != "":
		return render.Answer{}, &LimitError{answer.TooLarge}
	case answer.Busy:
		return render.Answer{}, ErrBusy
	case answer.Unavailable != "":
		return render.Answer{}, fmt.Errorf("%w: %s", ErrUnavailable, answer.Unavailable)
	}
	return answer, nil
}
