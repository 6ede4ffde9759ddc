package fetcher

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/serve"
)

// Config is what the fetcher runs on.
type Config struct {
	// REST reaches the hub cluster. Required.
	REST *rest.Config
	// Bus and Blob are connected. Required.
	Bus  *bus.Bus
	Blob *blob.Store
	// DataDir holds mirrors and scratch files; it belongs to one process. Required.
	DataDir string
	// RuntimeNamespace holds the lease of the leader election.
	RuntimeNamespace string
	// ExternalArtifacts serves the kinds ExternalArtifact and ArtifactGenerator.
	ExternalArtifacts bool
	// NoCrossNamespaceRefs refuses sources of other namespaces to ArtifactGenerators.
	NoCrossNamespaceRefs bool
	// ServiceAccountIdentities lets objects name a service account whose identity a cloud
	// provider gives credentials to: Flux's feature gate ObjectLevelWorkloadIdentity.
	ServiceAccountIdentities bool
	// DefaultServiceAccount is the one of objects that name none; the fetcher's own identity
	// counts for them when empty. It needs ServiceAccountIdentities.
	DefaultServiceAccount string
	// Single says that no other replica runs, so no leader is elected.
	Single bool
	// Concurrency is how many sources of one namespace are worked on at once; 8 when zero.
	Concurrency int
	// PerHost is how many sources of one host are looked at at once on one road, half of
	// Concurrency when zero; half as many more of the namespace, and again of all namespaces.
	PerHost int
	// PerHostRate is how many looks at sources of one host begin in a second; 30 when zero,
	// any number when negative.
	PerHostRate int
	// IntervalJitter is the share of an interval by which it is spread both ways, in percent.
	IntervalJitter int

	// ArtifactAddr is where artifacts are served; nowhere when empty.
	ArtifactAddr string
	// AdvertisedAddr is host[:port] of artifact URLs; ArtifactAddr when empty,
	// which then needs a host.
	AdvertisedAddr string

	// MaxEntries and MaxBytes bound one artifact before compression; 200,000 and
	// 1 GiB when zero.
	MaxEntries int
	MaxBytes   int64
	// MaxPackBytes bounds what one fetch may transfer; 2 GiB when zero.
	MaxPackBytes int64
	// MaxIndexBytes bounds the index of a Helm repository, 50 MiB when zero;
	// MaxChartBytes a chart's package, 10 MiB; MaxChartFileBytes one of its files, 5 MiB.
	MaxIndexBytes, MaxChartBytes, MaxChartFileBytes int64
	// SSHKeyExchanges and SSHHostKeys are the algorithms that SSH may use; those that are
	// not weak when empty.
	SSHKeyExchanges, SSHHostKeys []string
	// MirrorIdle is how long an unused mirror stays on disk; 24 hours when zero.
	MirrorIdle time.Duration
	// SigstoreRoot is a file with the trusted root, in JSON form, of signatures made without a
	// key; Sigstore's public one, which is read over the network, when empty.
	SigstoreRoot string
	// SweepEvery is how often storage is searched for artifacts of no source; an
	// hour when zero.
	SweepEvery time.Duration

	// Logger is slog's default when nil.
	Logger *slog.Logger
	// Ready gets the fetcher's readiness check; one of its own when nil.
	Ready *serve.Readiness
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	switch {
	case c.REST == nil, c.Bus == nil, c.Blob == nil:
		return errors.New("configure fetcher: cluster, bus and bucket are required")
	case c.DataDir == "":
		return errors.New("configure fetcher: data-dir is empty")
	case c.IntervalJitter < 0 || c.IntervalJitter >= 100:
		return fmt.Errorf("configure fetcher: interval-jitter-percentage is %d, want 0 to 99", c.IntervalJitter)
	case c.DefaultServiceAccount != "" && !c.ServiceAccountIdentities:
		return errors.New("configure fetcher: default-source-service-account needs object-level-workload-identity")
	case !c.Single && c.RuntimeNamespace == "":
		return errors.New("configure fetcher: runtime-namespace is empty")
	}
	if c.advertised() == "" {
		return errors.New("configure fetcher: set artifact-adv-addr, because artifact-addr names no host")
	}
	return nil
}

// advertised is the host of artifact URLs.
func (c Config) advertised() string {
	if c.AdvertisedAddr != "" {
		return c.AdvertisedAddr
	}
	host, _, err := net.SplitHostPort(c.ArtifactAddr)
	if err != nil || host == "" {
		return ""
	}
	return c.ArtifactAddr
}

func (c Config) withDefaults() Config {
	if c.Concurrency == 0 {
		c.Concurrency = 8
	}
	if c.PerHost == 0 {
		c.PerHost = max(1, c.Concurrency/2)
	}
	if c.MaxEntries == 0 {
		c.MaxEntries = 200_000
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	if c.MaxIndexBytes == 0 {
		c.MaxIndexBytes = 50 << 20
	}
	if c.MaxChartBytes == 0 {
		c.MaxChartBytes = 10 << 20
	}
	if c.MaxChartFileBytes == 0 {
		c.MaxChartFileBytes = 5 << 20
	}
	if c.SweepEvery == 0 {
		c.SweepEvery = time.Hour
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Ready == nil {
		c.Ready = &serve.Readiness{}
	}
	return c
}
