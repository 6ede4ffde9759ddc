package bus

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/sluice-gitops/sluice/events"
)

// delivery is one message of a consumer. Exactly one of ack, nak and nakIn ends it;
// when none arrives, NATS delivers the message again after the ack wait.
type delivery struct {
	conn    *nats.Conn
	reply   string
	subject string
	header  nats.Header
	data    []byte
	// sequence of the message in its stream.
	sequence uint64
	// deliveries of this very message so far, from 1.
	deliveries uint64
	// sent is when the stream stored the message.
	sent time.Time
	// behind is how many messages its consumer has not delivered yet.
	behind uint64
	// remove and again are set for a check that overtook its lane: it is removed
	// when it is done, and offered again when it was put back.
	remove func() error
	again  func(delay time.Duration)
	// returned, when set, is told that the message is put back.
	returned func(*delivery)
}

func newDelivery(conn *nats.Conn, m *nats.Msg) (*delivery, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, fmt.Errorf("read delivery of %s: %w", m.Subject, err)
	}
	return &delivery{
		conn: conn, reply: m.Reply, subject: m.Subject, header: m.Header, data: m.Data,
		sequence: meta.Sequence.Stream, deliveries: meta.NumDelivered, sent: meta.Timestamp,
		behind: meta.NumPending,
	}, nil
}

// namespace is that of the check's key; empty when its subject names none.
func (d *delivery) namespace() string {
	_, key, err := events.ParseCheckSubject(d.subject)
	if err != nil {
		return ""
	}
	return key.Namespace
}

// ack says that the message is done.
func (d *delivery) ack() error {
	if d.remove != nil {
		return d.remove()
	}
	return d.answer("+ACK")
}

// inProgress restarts the ack wait.
func (d *delivery) inProgress() error {
	if d.remove != nil {
		return nil // nothing waits for an answer
	}
	return d.answer("+WPI")
}

// nak returns the message to be delivered at once. A lost nak costs the ack wait.
func (d *delivery) nak() {
	if d.again != nil {
		d.again(0)
		return
	}
	d.back()
	_ = d.answer("-NAK")
}

func (d *delivery) back() {
	if d.returned != nil {
		d.returned(d)
	}
}

// nakIn returns the message to be delivered after a delay.
func (d *delivery) nakIn(delay time.Duration) error {
	if d.again != nil {
		d.again(delay)
		return nil
	}
	options, err := json.Marshal(struct {
		Delay time.Duration `json:"delay"`
	}{delay})
	if err != nil {
		return fmt.Errorf("encode delay of %s: %w", d.subject, err)
	}
	d.back()
	return d.answer("-NAK " + string(options))
}

func (d *delivery) answer(body string) error {
	if err := d.conn.Publish(d.reply, []byte(body)); err != nil {
		return fmt.Errorf("answer %s: %w", d.subject, err)
	}
	return nil
}
