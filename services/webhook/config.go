package webhook

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/serve"
)

// Settings are the ones that only this service has.
type Settings struct {
	// Addr is where deliveries are taken.
	Addr string
}

// Bind declares the settings as flags of fs.
func (s *Settings) Bind(fs *pflag.FlagSet) {
	fs.StringVar(&s.Addr, "webhook-addr", ":9292", "address that webhook deliveries are taken on")
}

// Config is what Run needs. REST and Bus are required.
type Config struct {
	Settings
	// REST reaches the cluster that has the Receivers.
	REST *rest.Config
	// Bus takes the events.
	Bus *bus.Bus
	// Listener takes the deliveries instead of Settings.Addr.
	Listener net.Listener
	// RuntimeNamespace holds the lease of the leader; sluice-system when empty.
	RuntimeNamespace string
	// NoCrossNamespaceRefs refuses resources of other namespaces than the Receiver's.
	NoCrossNamespaceRefs bool
	// Single says that no other replica runs, so that no leader is elected.
	Single bool
	// Concurrency is how many Receivers are looked at at a time; 4 when zero.
	Concurrency int
	// Logger is dropped into when nil.
	Logger *slog.Logger
	// Registerer of the metrics; they are not exported when nil.
	Registerer prometheus.Registerer
	// Ready gets the service's readiness checks.
	Ready *serve.Readiness
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	switch {
	case c.REST == nil:
		return errors.New("configure webhook: a cluster is missing")
	case c.Bus == nil:
		return errors.New("configure webhook: a bus is missing")
	case c.Addr == "" && c.Listener == nil:
		return errors.New("configure webhook: webhook-addr is empty")
	case c.Concurrency < 0:
		return fmt.Errorf("configure webhook: concurrency is %d", c.Concurrency)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.RuntimeNamespace == "" {
		c.RuntimeNamespace = "sluice-system"
	}
	if c.Concurrency == 0 {
		c.Concurrency = 4
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	if c.Ready == nil {
		c.Ready = &serve.Readiness{}
	}
	return c
}
