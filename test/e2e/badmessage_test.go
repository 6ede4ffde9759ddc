package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
)

// A message on EVENTS that is no event, or lies, is recorded and passed over,
// although the last message of a subject is what everybody reads.
func TestBadMessage(t *testing.T) {
	n := newTenant(t, "bad-message", map[string]string{"app/settings.yaml": configMap("app", "first"), "witness/settings.yaml": configMap("witness", "first")})
	n.app("app", nil)
	n.app("witness", nil)
	n.live("app", "witness")
	source := events.NewKey("GitRepository", n.Namespace, harness.SourceName)
	app := events.NewKey("Kustomization", n.Namespace, "app")
	admin := connectAdmin(t)
	for _, c := range []struct {
		name, why, subject string
		header             nats.Header
		body               string
		dead               string // subject of the dead letter, if there is to be one
	}{
		{"source", "no CloudEvent at all", events.SourceSubject(source), nil, "hello", events.DeadFanOutSubject("builder")},
		{"build", "no CloudEvent at all", events.BuildSubject("local", app), nil, "{", events.DeadFanOutSubject("applier")},
		{"apply", "nobody reads this subject but its writer", events.ApplySubject("local", app), nil, "", ""},
		{"version", "an event of a specification nobody knows", events.SourceSubject(source), header("9.9", events.TypeSourceChanged, source), "{}", events.DeadFanOutSubject("builder")},
		{"data", "the data is not the type's", events.BuildSubject("local", app), header("1.0", events.TypeBuildRendered, app), "[]", ""},
		{"forged", "a head that no builder wrote", events.BuildSubject("local", app), header("1.0", events.TypeBuildRendered, app), n.forgedBuild(app), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := tenant{n.Tenant, t}
			message := &nats.Msg{Subject: c.subject, Header: c.header, Data: []byte(c.body)}
			if _, err := admin.PublishMsg(within(t, limit), message); err != nil {
				t.Fatalf("publish: %v", err)
			}
			if c.dead != "" {
				own.deadLetter(admin, c.dead, c.subject)
				seeLog(t, "passed over a message", c.subject)
			}
			own.push(map[string]string{"app/settings.yaml": configMap("app", c.name)})
			own.awaitWithin(witnessLimit, harness.ConfigMapKind, "app", holds("value", c.name))
			own.witness()
			own.live("app")
		})
	}
	t.Run("held", func(t *testing.T) {
		own := tenant{n.Tenant, t}
		before := own.version(harness.ConfigMapKind, "app")
		message := &nats.Msg{Subject: events.BuildSubject("local", app), Header: header("1.0", events.TypeBuildRendered, app), Data: []byte(n.forgedBuild(app))}
		if _, err := admin.PublishMsg(within(t, limit), message); err != nil {
			t.Fatalf("publish: %v", err)
		}
		seeKubernetesEvent(t, n.Namespace, "Kustomization", "app", "Warning", "ArtifactFailed", "refused the newest build event", "not authentic")
		seeLog(t, n.Namespace, `"app"`, "refused the newest build event")
		own.live("app")
		if after := own.version(harness.ConfigMapKind, "app"); after != before {
			t.Error("a forged build led to a write")
		}
	})
}

func connectAdmin(t *testing.T) jetstream.JetStream {
	t.Helper()
	connection, err := world.Connect("admin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(connection.Close)
	js, err := jetstream.New(connection)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func header(version, kind string, object events.Key) nats.Header {
	return nats.Header{
		"Content-Type": {"application/json"}, "ce-specversion": {version}, "ce-id": {"forged"}, "ce-type": {kind},
		"ce-source": {"/somebody"}, "ce-subject": {object.String()}, "ce-time": {time.Now().UTC().Format(time.RFC3339Nano)},
	}
}

// forgedBuild claims a render of the newest revision under a head nobody signed.
func (n tenant) forgedBuild(app events.Key) string {
	n.t.Helper()
	uid := n.get(harness.KustomizationKind, app.Name).GetUID()
	return fmt.Sprintf(`{"cluster":"local","object":{"kind":"kustomization","namespace":%q,"name":%q},"uid":%q,"revision":%q,"renderID":"00","render":"renders/evil","head":"forged","objects":1}`,
		app.Namespace, app.Name, uid, n.Revision())
}

// deadLetter waits for a dead letter about a message on a subject.
func (n tenant) deadLetter(js jetstream.JetStream, dead, subject string) {
	n.t.Helper()
	ctx := within(n.t, limit)
	err := harness.Until(ctx, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		stream, err := js.Stream(ctx, events.StreamDead)
		if err != nil {
			return false, err
		}
		letter, err := stream.GetLastMsgForSubject(ctx, dead)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return false, nil // none yet
		}
		if err != nil {
			return false, err
		}
		return letter.Header.Get("Sluice-Dead-Subject") == subject && letter.Header.Get("Sluice-Dead-Error") != "", nil
	})
	if err != nil {
		n.t.Errorf("no dead letter on %s about a message on %s: %v", dead, subject, err)
	}
}
