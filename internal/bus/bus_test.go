package bus_test

import (
	"testing"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
	"github.com/sluice-gitops/sluice/internal/natsserver"
)

func TestContract(t *testing.T) {
	t.Run("in process", func(t *testing.T) {
		bustest.Suite(t, func(s *natsserver.Server, cfg *bus.Config) { cfg.InProcess = s })
	})
	t.Run("over TCP", func(t *testing.T) {
		bustest.Suite(t, func(s *natsserver.Server, cfg *bus.Config) { cfg.URL = s.URL() })
	})
}
