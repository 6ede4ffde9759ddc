package builder

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/internal/serve"
)

// Settings are the ones that only this service has.
type Settings struct {
	// Memory bounds the heap of one build, in bytes.
	Memory int64
	// Timeout bounds one build whatever its spec says.
	Timeout time.Duration
	// WorkBytes bounds the unpacked artifacts that no build uses.
	WorkBytes int64
	// ArtifactBytes and ArtifactEntries bound one unpacked artifact.
	ArtifactBytes   int64
	ArtifactEntries int
	// ConfigSelector selects the ConfigMaps and Secrets that are watched; empty
	// watches none.
	ConfigSelector string
	// AgeSecret names a Secret of the runtime namespace with age keys for
	// Kustomizations that decrypt but name no Secret; empty means there is none.
	AgeSecret string
	// SweepEvery is how often the bucket is searched for renders of no object.
	SweepEvery time.Duration
}

// Bind declares the settings as flags of fs.
func (s *Settings) Bind(fs *pflag.FlagSet) {
	fs.Int64Var(&s.Memory, "build-memory-bytes", 512<<20, "memory that one build may use; one that needs more is killed")
	fs.DurationVar(&s.Timeout, "build-timeout", 5*time.Minute, "longest time of one build, also when its spec.timeout is longer")
	fs.Int64Var(&s.WorkBytes, "build-workspace-bytes", 2<<30, "disk space for unpacked artifacts that no build uses at the moment")
	fs.Int64Var(&s.ArtifactBytes, "build-artifact-max-bytes", 1<<30, "most bytes that one artifact may unpack to")
	fs.IntVar(&s.ArtifactEntries, "build-artifact-max-entries", 200_000, "most files and folders that one artifact may unpack to")
	fs.StringVar(&s.AgeSecret, "sops-age-secret", "", "Secret of the runtime namespace whose entries *.agekey decrypt for Kustomizations with spec.decryption and without a secretRef")
	fs.DurationVar(&s.SweepEvery, "build-sweep-interval", 5*time.Minute, "how often the bucket is searched for renders that nothing needs or that are lost")
}

// Config is what Run needs. REST, Bus and Blob are required.
type Config struct {
	Settings
	// REST reaches the cluster that has the Kustomizations.
	REST *rest.Config
	// Bus has the events and the checks.
	Bus *bus.Bus
	// Blob has the artifacts and gets the renders.
	Blob *blob.Store
	// Keys are what renders are sealed with; nil means those of the Secret
	// sluice-keys in the runtime namespace, which is waited for.
	Keys *seal.Keyring
	// RuntimeNamespace has the Secret and the lease of the leader; sluice-system
	// when empty.
	RuntimeNamespace string
	// ClusterName names the cluster on the bus and in seals; local when empty.
	ClusterName string
	// DataDir gets a folder for unpacked artifacts, which no other process may
	// use; a temporary folder when empty.
	DataDir string
	// NoCrossNamespaceRefs refuses sources in other namespaces.
	NoCrossNamespaceRefs bool
	// ExternalArtifacts allows sources of kind ExternalArtifact.
	ExternalArtifacts bool
	// Single says that no other replica runs, so that no leader is elected.
	Single bool
	// NewCache makes what the watches fill; controller-runtime's own when nil.
	NewCache cache.NewCacheFunc
	// Concurrency is how many Kustomizations of one namespace are worked on at a time; 8 when zero.
	Concurrency int
	// IntervalJitter is the share of an interval by which it is spread, in percent.
	IntervalJitter int
	// Logger is dropped into when nil.
	Logger *slog.Logger
	// Registerer of the metrics; they are not exported when nil.
	Registerer prometheus.Registerer
	// Ready gets the service's readiness check.
	Ready *serve.Readiness
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	switch {
	case c.REST == nil:
		return errors.New("configure builder: a cluster is missing")
	case c.Bus == nil:
		return errors.New("configure builder: a bus is missing")
	case c.Blob == nil:
		return errors.New("configure builder: a bucket is missing")
	case c.Concurrency < 0:
		return fmt.Errorf("configure builder: concurrency is %d", c.Concurrency)
	case c.IntervalJitter < 0 || c.IntervalJitter >= 100:
		return fmt.Errorf("configure builder: interval-jitter-percentage is %d, want 0 to 99", c.IntervalJitter)
	case c.Memory < 0, c.Timeout < 0, c.WorkBytes < 0, c.ArtifactBytes < 0, c.ArtifactEntries < 0, c.SweepEvery < 0:
		return errors.New("configure builder: a build- setting is negative")
	case c.Memory > 0 && c.Memory < 64<<20:
		return fmt.Errorf("configure builder: build-memory-bytes is %d, less than the 64 MiB that any build needs", c.Memory)
	}
	if _, err := labels.Parse(c.ConfigSelector); err != nil {
		return fmt.Errorf("configure builder: watch-configs-label-selector: %w", err)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.RuntimeNamespace == "" {
		c.RuntimeNamespace = "sluice-system"
	}
	if c.ClusterName == "" {
		c.ClusterName = "local"
	}
	if c.Concurrency == 0 {
		c.Concurrency = 8
	}
	if c.SweepEvery == 0 {
		c.SweepEvery = 5 * time.Minute
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Minute
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

// ageSecret is the Secret that AgeSecret names.
func (c Config) ageSecret() *client.ObjectKey {
	if c.AgeSecret == "" {
		return nil
	}
	return &client.ObjectKey{Namespace: c.RuntimeNamespace, Name: c.AgeSecret}
}
