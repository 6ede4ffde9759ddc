package events

import (
	"fmt"
	"strings"
)

// Names of the streams. EVENTS says what happened; FETCH, BUILD and APPLY queue
// the keys each stage must look at again; LEASES says who works on a key;
// DEAD keeps what cannot succeed by retrying; AUDIT keeps the events by age for
// auditors.
const (
	StreamEvents = "EVENTS"
	StreamLeases = "LEASES"
	StreamDead   = "DEAD"
	StreamAudit  = "AUDIT"
)

// CheckStream returns the name of a stage's check stream.
func CheckStream(s Stage) string { return strings.ToUpper(string(s)) }

// SourceSubject is where the fetcher reports a source.
func SourceSubject(source Key) string { return "sluice.source." + source.tokens() }

// BuildSubject is where the builder reports what it rendered for an object whose
// output goes to cluster.
func BuildSubject(cluster string, object Key) string {
	return "sluice.build." + escape(cluster) + "." + object.tokens()
}

// ApplySubject is where the applier reports what it did for an object in cluster.
func ApplySubject(cluster string, object Key) string {
	return "sluice.apply." + escape(cluster) + "." + object.tokens()
}

// HookSubject is where the webhook service reports a provider's push.
func HookSubject(namespace, receiver string) string {
	return "sluice.hook." + escape(namespace) + "." + escape(receiver)
}

// CheckSubject is the queue place of a key: one message at most, a newer check
// replaces an older one.
func CheckSubject(stage Stage, key Key) string {
	return fmt.Sprintf("sluice.check.%s.%s.%s", stage, laneToken(key.Lane()), key.tokens())
}

// AskSubject is where a builder asks the applier of a cluster about what an object's templates
// look up there. It is a request with a reply and in no stream.
func AskSubject(cluster string, object Key) string {
	return "sluice.ask." + escape(cluster) + "." + object.tokens()
}

// AskNamespace returns the namespace of the object that a question is about; empty when its subject names none.
func AskNamespace(subject string) string {
	t := strings.Split(subject, ".")
	if len(t) != 6 || t[0] != "sluice" || t[1] != "ask" {
		return ""
	}
	return unescape(t[4])
}

// AskFilter matches the questions to the applier of a cluster.
func AskFilter(cluster string) string { return "sluice.ask." + escape(cluster) + ".>" }

// WaitingFilter matches the copies of a stage's checks that NATS sends once they
// are stored: sluice.waiting.<stage>.<lane>.<kind>.<namespace>.<name>.
func WaitingFilter(stage Stage) string { return "sluice.waiting." + string(stage) + ".>" }

// TimerSubject holds the scheduled message whose target is the key's check.
func TimerSubject(stage Stage, key Key) string {
	return fmt.Sprintf("sluice.timer.%s.%s.%s", stage, laneToken(key.Lane()), key.tokens())
}

// RetrySubject holds the scheduled message that checks a key again after a
// failure. It is not the key's timer, so that a retry leaves the interval alone.
func RetrySubject(stage Stage, key Key) string { return TimerSubject(stage, key) + ".retry" }

// MarkerSubject holds the first message of a check stream. It is never taken, so
// its absence says that the stream was emptied and its timers are gone.
func MarkerSubject(stage Stage) string { return "sluice.timer." + string(stage) + ".marker" }

// DeadSubject is where a check that cannot succeed is recorded.
func DeadSubject(stage Stage, key Key) string {
	return "sluice.dead." + string(stage) + "." + key.tokens()
}

// DeadFanOutSubject is where messages of EVENTS that a fan-out could not read are
// recorded.
func DeadFanOutSubject(name string) string { return "sluice.dead.fanout." + name }

// CheckFilter matches every check of one lane of a stage.
func CheckFilter(stage Stage, lane int) string {
	return fmt.Sprintf("sluice.check.%s.%s.>", stage, laneToken(lane))
}

// LeaseSubject says which worker holds a key of a stage.
func LeaseSubject(stage Stage, key Key) string {
	return "sluice.lease." + string(stage) + "." + key.tokens()
}

// LossSubject says how often a check of a key was begun without an end.
func LossSubject(stage Stage, key Key) string { return LeaseSubject(stage, key) + ".lost" }

// ParseCheckSubject returns the stage and key of a check subject.
func ParseCheckSubject(subject string) (Stage, Key, error) {
	t := strings.Split(subject, ".")
	if len(t) != 7 || t[0] != "sluice" || t[1] != "check" {
		return "", Key{}, fmt.Errorf("parse check subject %q: want sluice.check.<stage>.<lane>.<kind>.<namespace>.<name>", subject)
	}
	key, err := keyFromTokens(t[4:])
	if err != nil {
		return "", Key{}, fmt.Errorf("parse check subject %q: %w", subject, err)
	}
	return Stage(t[2]), key, nil
}

// ParseSubject returns the object an EVENTS subject is about. For
// sluice.hook.<namespace>.<receiver> the kind is "receiver".
func ParseSubject(subject string) (Key, error) {
	t := strings.Split(subject, ".")
	if len(t) >= 2 && t[0] == "sluice" {
		switch {
		case t[1] == "source" && len(t) == 5:
			return keyFromTokens(t[2:])
		case (t[1] == "build" || t[1] == "apply") && len(t) == 6:
			return keyFromTokens(t[3:])
		case t[1] == "hook" && len(t) == 4:
			return keyFromTokens([]string{"receiver", t[2], t[3]})
		}
	}
	return Key{}, fmt.Errorf("parse subject %q: not a subject of stream EVENTS", subject)
}
