package applier

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

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/internal/serve"
)

// Settings are the ones that only this service has.
type Settings struct {
	// NoCrossNamespaceRefs refuses sources in other namespaces.
	NoCrossNamespaceRefs bool
	// ExternalArtifacts allows sources of kind ExternalArtifact.
	ExternalArtifacts bool
	// DefaultServiceAccount is who Kustomizations and HelmReleases act as that name no service
	// account; empty means the applier's own rights.
	DefaultServiceAccount string
	// CreateRuntimeNamespace creates the runtime namespace when it is missing.
	CreateRuntimeNamespace bool
	// IntervalJitter is the share of an interval by which it is spread, in percent.
	IntervalJitter int
	// Parallel is how many objects of one Kustomization are applied at once.
	Parallel int
	// OverrideManagers are prefixes of field managers whose fields are taken over.
	OverrideManagers []string
	// ConfigSelector selects the ConfigMaps and Secrets of spec.kubeConfig that are
	// watched; empty watches none.
	ConfigSelector string
	// InsecureKubeconfigExec lets kubeconfigs run programs to get credentials.
	InsecureKubeconfigExec bool
	// InsecureKubeconfigTLS accepts kubeconfigs that do not check the server's certificate.
	InsecureKubeconfigTLS bool
	// DefaultKubeconfigServiceAccount is whose identity is used by ConfigMaps of
	// spec.kubeConfig that name no service account; when empty, provider generic is refused,
	// and clouds see the applier's own.
	DefaultKubeconfigServiceAccount string
	// ServiceAccountIdentities lets ConfigMaps of spec.kubeConfig use the identities that
	// service accounts have at clouds: Flux's feature gate ObjectLevelWorkloadIdentity.
	ServiceAccountIdentities bool
	// StageKinds are kinds, as group/Kind, applied before the rest.
	StageKinds []string
	// AdditiveDependencyCheck asks for the built-in check of a dependency beside its
	// readyExpr.
	AdditiveDependencyCheck bool
	// VerifyInterval is how often all objects of a Kustomization, or of a HelmRelease that detects drift, are compared with
	// the API server although no watch saw a change; zero never does.
	VerifyInterval time.Duration
}

// Bind declares the settings as flags of fs.
func (s *Settings) Bind(fs *pflag.FlagSet) {
	fs.StringVar(&s.DefaultServiceAccount, "default-service-account", "", "service account of Kustomizations and HelmReleases that name none; empty uses the applier's own rights")
	fs.StringVar(&s.DefaultKubeconfigServiceAccount, "default-kubeconfig-service-account", "", "service account whose identity reaches the cluster of a ConfigMap of spec.kubeConfig that names none; when empty, provider generic is refused, and clouds see the applier's own")
	fs.BoolVar(&s.InsecureKubeconfigExec, "insecure-kubeconfig-exec", false, "let kubeconfigs in Secrets run programs of the image to get a token")
	fs.BoolVar(&s.InsecureKubeconfigTLS, "insecure-kubeconfig-tls", false, "accept http, and certificates that are not checked, in spec.kubeConfig")
	fs.BoolVar(&s.CreateRuntimeNamespace, "create-runtime-namespace", false, "create the runtime namespace if it is missing")
	fs.IntVar(&s.Parallel, "concurrent-ssa", 16, "how many objects of one Kustomization are applied at once")
	fs.StringSliceVar(&s.OverrideManagers, "override-manager", nil, "prefix of a field manager whose fields are taken over; may be repeated")
	fs.BoolVar(&s.AdditiveDependencyCheck, "additive-cel-dependency-check", false, "a dependency with a readyExpr must be Ready too; Flux's feature gate AdditiveCELDependencyCheck")
	fs.DurationVar(&s.VerifyInterval, "verify-interval", 24*time.Hour, "how often all objects of a Kustomization, or of a HelmRelease that detects drift, are compared with the API server, one dry run each, although no watch saw a change; 0 never does")
	fs.StringSliceVar(&s.StageKinds, "custom-apply-stage-kinds", nil, "kinds, as group/Kind, that are applied before the rest")
}

// Config is what Run needs. REST, Bus and Blob are required.
type Config struct {
	Settings
	// REST reaches the cluster that has the Kustomizations, and that they are
	// applied to.
	REST *rest.Config
	// Bus has the events and the checks.
	Bus *bus.Bus
	// Blob has the renders.
	Blob *blob.Store
	// Keys are what renders are sealed with; nil means those of the Secret
	// sluice-keys in the runtime namespace, which is created if missing.
	Keys *seal.Keyring
	// RuntimeNamespace has the Secret and the lease of the leader; sluice-system when empty.
	RuntimeNamespace string
	// ClusterName names the cluster on the bus and in seals; local when empty.
	ClusterName string
	// Single says that no other replica runs, so that no leader is elected.
	Single bool
	// NewCache makes what the watches fill; controller-runtime's own when nil.
	NewCache cache.NewCacheFunc
	// Concurrency is how many Kustomizations of one namespace are worked on at a time; 8 when zero.
	Concurrency int
	// Deadline bounds the work of one check; 10 minutes when zero.
	Deadline time.Duration
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
		return errors.New("configure applier: a cluster is missing")
	case c.Bus == nil:
		return errors.New("configure applier: a bus is missing")
	case c.Blob == nil:
		return errors.New("configure applier: a bucket is missing")
	case c.Concurrency < 0:
		return fmt.Errorf("configure applier: concurrency is %d", c.Concurrency)
	case c.VerifyInterval < 0:
		return fmt.Errorf("configure applier: verify-interval is %s", c.VerifyInterval)
	case c.IntervalJitter < 0 || c.IntervalJitter >= 100:
		return fmt.Errorf("configure applier: interval-jitter-percentage is %d, want 0 to 99", c.IntervalJitter)
	}
	if _, err := labels.Parse(c.ConfigSelector); err != nil {
		return fmt.Errorf("configure applier: watch-configs-label-selector: %w", err)
	}
	_, err := groupKinds(c.StageKinds)
	return err
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
	if c.Deadline == 0 {
		c.Deadline = 10 * time.Minute
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
