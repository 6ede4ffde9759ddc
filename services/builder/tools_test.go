package builder_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/internal/serve"
)

func jetStream(w *world) (jetstream.JetStream, error) { return jetstream.New(w.bus.Conn()) }

// newReadiness is that of a process whose builder has not said anything yet.
func newReadiness() *serve.Readiness {
	ready := &serve.Readiness{}
	ready.Expect("builder")
	return ready
}

func newKeys(t *testing.T) (*seal.Keyring, map[string][]byte) {
	t.Helper()
	data := seal.NewKeyringData()
	ring, err := seal.ParseKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	return ring, data
}
