package serve

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Settings are the ones that every service has. Bind declares them as flags;
// each is an environment variable too.
type Settings struct {
	// NATS is how to reach the bus.
	NATS NATS
	// S3 is how to reach the bucket.
	S3 S3
	// Kubeconfig is a path; empty means the pod's own service account, or
	// the usual places outside a cluster.
	Kubeconfig string
	// RuntimeNamespace is where the engine itself runs and keeps its Secrets.
	RuntimeNamespace string
	// DataDir is a folder of the process's own: mirrors, unpacked artifacts, and
	// what embedded servers keep. What services keep there can be lost.
	DataDir string
	// ClusterName names the cluster in subjects, seals and events.
	ClusterName string
	// ProbeAddr is where /healthz, /readyz and /metrics are served.
	ProbeAddr string
	// Concurrency is how many keys of one namespace one replica works on at a time;
	// half as many more are for other namespaces.
	Concurrency int
	// Grace is how long a stopping process may take to finish its work.
	Grace time.Duration
	// IntervalJitter is the share of an interval by which it is spread both ways, in percent.
	IntervalJitter int
	// NoCrossNamespaceRefs refuses references to objects of other namespaces.
	NoCrossNamespaceRefs bool
	// ExternalArtifacts allows sources of kind ExternalArtifact.
	ExternalArtifacts bool
	// ServiceAccountIdentities lets objects use the identity that a service account has at a
	// cloud provider: Flux's feature gate ObjectLevelWorkloadIdentity.
	ServiceAccountIdentities bool
	// ConfigSelector selects the ConfigMaps and Secrets whose changes count at once;
	// empty watches none.
	ConfigSelector string
	// LogLevel is trace, debug, info or error.
	LogLevel string

	natsPasswordFile, s3SecretKeyFile string
}

// NATS says how to reach the bus and as whom.
type NATS struct {
	// URL is one or several server addresses, separated by commas.
	URL string
	// User and Password are one way to authenticate.
	User, Password string
	// CredsFile is the other: the path of a NATS credentials file.
	CredsFile string
	// CAFile is a PEM file of the authorities to trust for TLS.
	CAFile string
}

// S3 says how to reach the bucket. It has the fields of blob.Config, in their
// order, so that one converts to the other.
type S3 struct {
	// Endpoint is host:port.
	Endpoint string
	// Bucket is the bucket's name.
	Bucket string
	// AccessKey and SecretKey are the credentials.
	AccessKey, SecretKey string
	// Region is the region that requests are signed for.
	Region string
	// TLS asks for https.
	TLS bool
	// CAFile is a PEM file of the authorities to trust for TLS.
	CAFile string
}

// Bind declares the settings as flags of fs, with their defaults. A process
// that embeds the bus and the bucket binds them too and fills in what it
// started.
func (s *Settings) Bind(fs *pflag.FlagSet) {
	fs.StringVar(&s.NATS.URL, "nats-url", "nats://127.0.0.1:4222", "addresses of the NATS servers, separated by commas")
	fs.StringVar(&s.NATS.User, "nats-user", "", "user name on the NATS servers")
	fs.StringVar(&s.NATS.Password, "nats-password", "", "password of the NATS user; prefer nats-password-file")
	fs.StringVar(&s.natsPasswordFile, "nats-password-file", "", "file that holds the password of the NATS user")
	fs.StringVar(&s.NATS.CredsFile, "nats-creds", "", "NATS credentials file, instead of user and password")
	fs.StringVar(&s.NATS.CAFile, "nats-ca", "", "PEM file of the authorities to trust for TLS to NATS")

	fs.StringVar(&s.S3.Endpoint, "s3-endpoint", "127.0.0.1:7070", "host:port of the S3 service")
	fs.StringVar(&s.S3.Bucket, "s3-bucket", "sluice", "bucket for artifacts and renders; created if missing")
	fs.StringVar(&s.S3.AccessKey, "s3-access-key", "", "access key of the S3 service; empty uses the AWS environment")
	fs.StringVar(&s.S3.SecretKey, "s3-secret-key", "", "secret key of the S3 service; prefer s3-secret-key-file")
	fs.StringVar(&s.s3SecretKeyFile, "s3-secret-key-file", "", "file that holds the secret key of the S3 service")
	fs.StringVar(&s.S3.Region, "s3-region", "us-east-1", "region that S3 requests are signed for")
	fs.BoolVar(&s.S3.TLS, "s3-tls", false, "use https to the S3 service")
	fs.StringVar(&s.S3.CAFile, "s3-ca", "", "PEM file of the authorities to trust for TLS to the S3 service")

	fs.StringVar(&s.Kubeconfig, "kubeconfig", "", "path of a kubeconfig; empty uses the pod's service account or the usual places")
	fs.StringVar(&s.RuntimeNamespace, "runtime-namespace", "sluice-system", "namespace that the engine runs in and keeps its Secrets in")
	fs.StringVar(&s.DataDir, "data-dir", "/var/lib/sluice", "folder for mirrors, unpacked artifacts and what embedded servers keep")
	fs.StringVar(&s.ClusterName, "cluster-name", "local", "name of the cluster in subjects and events")
	fs.StringVar(&s.ProbeAddr, "probe-addr", ":9440", "address of /healthz, /readyz, /metrics and /debug/pprof/; empty serves none")
	fs.IntVar(&s.Concurrency, "concurrency", 8, "how many objects of one namespace one replica works on at a time; half as many more are for other namespaces")
	fs.DurationVar(&s.Grace, "grace", 25*time.Second, "how long a stopping process may take to finish its work")
	fs.IntVar(&s.IntervalJitter, "interval-jitter-percentage", 5, "share of an interval by which it is spread both ways, in percent; 0 to 99")
	fs.BoolVar(&s.NoCrossNamespaceRefs, "no-cross-namespace-refs", false, "refuse references to objects of other namespaces")
	fs.BoolVar(&s.ExternalArtifacts, "external-artifacts", false, "serve ArtifactGenerators, and allow sources of kind ExternalArtifact; Flux's feature gate ExternalArtifact")
	fs.BoolVar(&s.ServiceAccountIdentities, "object-level-workload-identity", false, "let sources, and ConfigMaps of spec.kubeConfig, use the identity that the service account they name has at a cloud provider; Flux's feature gate ObjectLevelWorkloadIdentity")
	fs.StringVar(&s.ConfigSelector, "watch-configs-label-selector", "reconcile.fluxcd.io/watch=Enabled", "labels of the ConfigMaps and Secrets (variables, kubeconfigs) whose changes count at once; empty watches none")
	fs.StringVar(&s.LogLevel, "log-level", "info", "lowest level to log: trace, debug, info or error")
}

// Load reads the secrets that were given as files. Call it after ParseArgs.
func (s *Settings) Load() error {
	if err := fromFile(&s.NATS.Password, s.natsPasswordFile, "nats-password"); err != nil {
		return err
	}
	return fromFile(&s.S3.SecretKey, s.s3SecretKeyFile, "s3-secret-key")
}

// fromFile fills in a secret, without the line break editors leave behind.
func fromFile(secret *string, file, name string) error {
	if file == "" {
		return nil
	}
	if *secret != "" {
		return fmt.Errorf("set %s or %s-file, not both", name, name)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read %s-file: %w", name, err)
	}
	*secret = strings.TrimRight(string(b), "\r\n")
	if *secret == "" {
		return fmt.Errorf("read %s-file: %s is empty", name, file)
	}
	return nil
}

// Validate reports the first setting that cannot work. The S3 settings are
// blob's to judge, and the NATS ones bus's, because not all services use both.
func (s *Settings) Validate() error {
	if s.ClusterName == "" || strings.ContainsAny(s.ClusterName, ".*> \t") {
		return fmt.Errorf("cluster-name %q must be a word without dots, spaces, * and >", s.ClusterName)
	}
	if s.RuntimeNamespace == "" {
		return errors.New("runtime-namespace is empty")
	}
	if s.Concurrency < 1 {
		return fmt.Errorf("concurrency is %d and must be at least 1", s.Concurrency)
	}
	if s.IntervalJitter < 0 || s.IntervalJitter > 99 {
		return fmt.Errorf("interval-jitter-percentage is %d and must be from 0 to 99", s.IntervalJitter)
	}
	if s.NATS.CredsFile != "" && s.NATS.User != "" {
		return errors.New("set nats-creds or nats-user, not both")
	}
	if s.Grace <= 0 {
		return fmt.Errorf("grace is %s and must be positive", s.Grace)
	}
	_, err := parseLevel(s.LogLevel)
	return err
}
