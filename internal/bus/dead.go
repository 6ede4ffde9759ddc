package bus

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Headers of a dead letter, beside those of the message it is about.
const (
	HeaderDeadError    = "Sluice-Dead-Error"
	HeaderDeadSubject  = "Sluice-Dead-Subject"
	HeaderDeadSequence = "Sluice-Dead-Sequence"
	HeaderDeadTime     = "Sluice-Dead-Time"
)

// deadPayload bounds what is kept of a message, so that a dead letter always fits
// into a message itself.
const deadPayload = 256 << 10

// bury records a message that cannot succeed in stream DEAD.
func (b *Bus) bury(ctx context.Context, subject string, m *delivery, cause error) error {
	letter := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: m.data}
	if len(letter.Data) > deadPayload {
		letter.Data = letter.Data[:deadPayload]
	}
	for name, values := range m.header {
		if !strings.HasPrefix(strings.ToLower(name), "nats-") {
			letter.Header[name] = values
		}
	}
	letter.Header.Set(HeaderDeadError, headerText(cause.Error()))
	letter.Header.Set(HeaderDeadSubject, m.subject)
	letter.Header.Set(HeaderDeadSequence, strconv.FormatUint(m.sequence, 10))
	letter.Header.Set(HeaderDeadTime, time.Now().UTC().Format(time.RFC3339Nano))
	if _, err := b.publish(ctx, letter); err != nil {
		return fmt.Errorf("record dead letter of %s: %w", m.subject, err)
	}
	return nil
}

// headerText makes one line of bounded length of a text.
func headerText(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 2048 {
		s = strings.ToValidUTF8(s[:2048], "")
	}
	return s
}
