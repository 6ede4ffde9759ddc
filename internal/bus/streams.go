package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	deploynats "github.com/sluice-gitops/sluice/deploy/nats"
	"github.com/sluice-gitops/sluice/events"
)

// Definitions returns the definition of every stream, as deploy/nats has them.
func Definitions() ([]jetstream.StreamConfig, error) {
	var defs []jetstream.StreamConfig
	if err := json.Unmarshal(deploynats.Streams(), &defs); err != nil {
		return nil, fmt.Errorf("parse stream definitions: %w", err)
	}
	return defs, nil
}

// definitionsOf returns the definitions of the named streams in their own order.
func definitionsOf(names []string) ([]jetstream.StreamConfig, error) {
	all, err := Definitions()
	if err != nil {
		return nil, err
	}
	var out []jetstream.StreamConfig
	for _, def := range all {
		for _, name := range names {
			if def.Name == name {
				out = append(out, def)
			}
		}
	}
	if len(out) != len(names) {
		return nil, fmt.Errorf("parse stream definitions: want %v, found %d of them", names, len(out))
	}
	return out, nil
}

// ensureStream returns the stream's state, after creating it when it is missing.
func (b *Bus) ensureStream(ctx context.Context, def jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	stream, err := b.js.Stream(ctx, def.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = b.createStream(ctx, def)
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", def.Name, err)
	}
	info := stream.CachedInfo()
	if wrong := mismatch(def, info.Config); wrong != "" {
		if b.cfg.Name != "" {
			return nil, fmt.Errorf("verify stream %s: %s; correct it as user admin from deploy/nats/streams.json", def.Name, wrong)
		}
		return b.correctStream(ctx, def, info.Config)
	}
	return info, nil
}

func (b *Bus) createStream(ctx context.Context, def jetstream.StreamConfig) (jetstream.Stream, error) {
	// Sequences never go back, not even over a deleted stream.
	def.FirstSeq = uint64(time.Now().UnixMilli())
	stream, err := b.js.CreateStream(ctx, def)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return b.js.Stream(ctx, def.Name) // another process was faster
	}
	if err != nil {
		return nil, fmt.Errorf("create stream %s: %w", def.Name, err)
	}
	b.log.Info("created stream", "stream", def.Name)
	return stream, nil
}

func (b *Bus) correctStream(ctx context.Context, def, is jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	def.FirstSeq, def.Replicas = is.FirstSeq, is.Replicas
	if def.MaxMsgsPerSubject > 1 && is.MaxMsgsPerSubject > 1 {
		def.MaxMsgsPerSubject = is.MaxMsgsPerSubject // the operator's choice
	}
	stream, err := b.js.UpdateStream(ctx, def)
	if err != nil {
		return nil, fmt.Errorf("correct stream %s: %w", def.Name, err)
	}
	return stream.CachedInfo(), nil
}

// mismatch says what of a stream's configuration the bus could not work with.
// Ages, sizes, replicas and the history of EVENTS are the operator's to choose.
func mismatch(want, is jetstream.StreamConfig) string {
	var wrong []string
	expect := func(field string, want, is any) {
		if fmt.Sprint(want) != fmt.Sprint(is) {
			wrong = append(wrong, fmt.Sprintf("%s is %v, want %v", field, is, want))
		}
	}
	expect("retention", want.Retention, is.Retention)
	expect("subjects", want.Subjects, is.Subjects)
	expect("discard", want.Discard, is.Discard)
	expect("allow_direct", want.AllowDirect, is.AllowDirect)
	expect("allow_msg_schedules", want.AllowMsgSchedules, is.AllowMsgSchedules)
	expect("allow_msg_ttl", want.AllowMsgTTL, is.AllowMsgTTL)
	if want.RePublish != nil && (is.RePublish == nil || *is.RePublish != *want.RePublish) {
		wrong = append(wrong, fmt.Sprintf("republish is not from %s to %s", want.RePublish.Source, want.RePublish.Destination))
	}
	if want.MaxMsgsPerSubject == 1 {
		expect("max_msgs_per_subject", want.MaxMsgsPerSubject, is.MaxMsgsPerSubject)
	}
	return strings.Join(wrong, ", ")
}

// mark puts the first message into a check stream unless it is there, and returns
// its sequence. Every process finds the same marker.
func (b *Bus) mark(ctx context.Context, stage events.Stage) (uint64, error) {
	subject := events.MarkerSubject(stage)
	last, err := b.readLast(ctx, events.CheckStream(stage), subject)
	if err != nil || last != nil {
		return sequenceOf(last), err
	}
	ack, err := b.publishOnce(ctx, nats.NewMsg(subject), []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(0)})
	if err == nil {
		return ack.Sequence, nil
	}
	if !isConflict(err) {
		return 0, fmt.Errorf("mark stream of %s: %w", stage, err)
	}
	last, err = b.readLast(ctx, events.CheckStream(stage), subject)
	return sequenceOf(last), err
}

// lastMessage is readLast over a stream that may have been deleted under us: it is
// created again, and holds nothing.
func (b *Bus) lastMessage(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	msg, err := b.readLast(ctx, stream, subject)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, b.guard.verify(ctx)
	}
	return msg, err
}

// readLast reads a subject's last message from the stream's leader; nil when there
// is none.
func (b *Bus) readLast(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	s, err := b.handle(ctx, stream)
	if err != nil {
		return nil, err
	}
	msg, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read last message of %s: %w", subject, err)
	}
	return msg, nil
}

// remove deletes one message. One that is gone already is no error.
func (b *Bus) remove(ctx context.Context, stream string, sequence uint64) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	s, err := b.handle(ctx, stream)
	if err == nil {
		err = s.DeleteMsg(ctx, sequence)
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove message %d of %s: %w", sequence, stream, err)
	}
	return nil
}

// handle returns a stream without asking the server for its state twice.
func (b *Bus) handle(ctx context.Context, name string) (jetstream.Stream, error) {
	if s, ok := b.guard.handles.Load(name); ok {
		return s.(jetstream.Stream), nil
	}
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	b.guard.handles.Store(name, s)
	return s, nil
}

func sequenceOf(m *jetstream.RawStreamMsg) uint64 {
	if m == nil {
		return 0
	}
	return m.Sequence
}
