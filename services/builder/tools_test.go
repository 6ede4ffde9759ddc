package builder_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/internal/serve"
)

func jetStream(w *world) (jetstream.JetStream, error) { return jetstream.New(w.bus.Conn()) }

func newReadiness() *serve.Readiness { return &serve.Readiness{} }

func newKeys(t *testing.T) (*seal.Keyring, map[string][]byte) {
	t.Helper()
	data := seal.NewKeyringData()
	ring, err := seal.ParseKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	return ring, data
}
