package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/share"
)

// askTime bounds a question with its answer, answerTime the answer alone: what is late is said in time. A process works on answersEach of a namespace at once and on
// answersAtOnce in all, so that one which asks much, or of a cluster that answers slowly, keeps no other waiting.
const (
	askTime       = 30 * time.Second
	answerTime    = 25 * time.Second
	answersEach   = 16
	answersAtOnce = answersEach + answersEach/2
)

// ErrNobody says that nobody is there to answer.
var ErrNobody = errors.New("nobody answers")

// Ask sends a question and returns its answer. It returns ErrNobody when no process answers
// questions on the subject.
func (b *Bus) Ask(ctx context.Context, subject string, question []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	answer, err := b.nc.RequestWithContext(ctx, subject, question)
	if errors.Is(err, nats.ErrNoResponders) {
		err = ErrNobody
	}
	if err != nil {
		return nil, fmt.Errorf("ask on %s: %w", subject, err)
	}
	return answer.Data, nil
}

// Answer answers questions until ctx ends. Of all processes with the same name one gets each.
// An answer that is nil is not sent, and its asker is left to ask again. So it is when answer panics.
func (b *Bus) Answer(ctx context.Context, filter, name string, answer func(ctx context.Context, question []byte) []byte) error {
	line := share.New(answersAtOnce, answersEach)
	var work sync.WaitGroup
	sub, err := b.nc.QueueSubscribe(filter, name, func(m *nats.Msg) {
		work.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, answerTime)
			defer cancel()
			asker := events.AskNamespace(m.Subject)
			if line.Enter(ctx, asker) != nil {
				return // nobody waits for the answer any more
			}
			defer line.Leave(asker)
			reply := b.answer(ctx, m, answer)
			if reply == nil {
				return
			}
			if err := m.Respond(reply); err != nil {
				b.log.Warn("answer could not be sent", "subject", m.Subject, "err", err)
			}
		})
	})
	if err != nil {
		return fmt.Errorf("answer on %s: %w", filter, err)
	}
	<-ctx.Done()
	if err := errors.Join(sub.Unsubscribe(), b.nc.FlushTimeout(time.Second)); err != nil {
		b.log.Debug("NATS was not told that nobody answers here any more", "filter", filter, "err", err) // it notices
	}
	work.Wait()
	return nil
}

// answer returns the answer to a question, nil when there is none.
func (b *Bus) answer(ctx context.Context, m *nats.Msg, answer func(ctx context.Context, question []byte) []byte) (reply []byte) {
	defer func() {
		if r := recover(); r != nil {
			b.log.ErrorContext(ctx, "answering a question panicked", "subject", m.Subject, "panic", r, "stack", string(debug.Stack()))
			reply = nil
		}
	}()
	return answer(ctx, m.Data)
}
