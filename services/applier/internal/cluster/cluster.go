package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/discovery"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/utils/lru"
)

const (
	// defaultConnections is how many requests run at once. Many HTTP/1.1 connections
	// carry about twice the changes a second of as many streams on one HTTP/2 connection.
	defaultConnections = 32
	// idleTime is how long a connection is kept that nobody uses. The API server closes it after 90 s, and a
	// write that is sent at that moment is lost.
	idleTime = 60 * time.Second
)

// Options are the settings of a cluster's client. The zero value works.
type Options struct {
	// Connections is how many requests other than watches run at once; 32 when zero.
	Connections int
	// OverrideManagers are prefixes of further field managers whose fields the
	// applier takes over, besides kubectl and before-first-apply.
	OverrideManagers []string
	// Trusted says that the API server is the applier's own. Of others, answers beyond measure are not read.
	Trusted bool
	// Room is where large answers are read, together with those of other clusters; one of its own when nil. One that is
	// trusted has none.
	Room *Room
	// Tenant is the namespace that what is kept of a cluster counts for that is not trusted.
	Tenant string
}

// ErrBusy says that enough is under way in a cluster. When there is room there is a check.
var ErrBusy = errors.New("the cluster is busy")

// ErrUnknown is an ErrBusy because it is being found out where the cluster is, or whether it
// answers. When that is known there is a check.
var ErrUnknown = fmt.Errorf("%w: it is not known yet", ErrBusy)

// NoTargetError says why an object has no cluster for now: its spec.kubeConfig cannot be
// used, or leads to a cluster that does not answer.
type NoTargetError struct {
	Err error
	// Disabled is true when a feature gate must allow what the object asks for.
	Disabled bool
}

// Error implements error.
func (n *NoTargetError) Error() string { return n.Err.Error() }

// Unwrap returns the error itself.
func (n *NoTargetError) Unwrap() error { return n.Err }

// BusyFor returns how long to wait for the check that follows an ErrBusy: ten to thirty seconds,
// spread, since another replica may have taken who was told to come, and left the room unused. After an
// ErrUnknown it is a minute to three, for a process that dies before it tells.
func BusyFor(err error) time.Duration {
	shortest := 10 * time.Second
	if errors.Is(err, ErrUnknown) {
		shortest = time.Minute
	}
	return shortest + rand.N(2*shortest) //nolint:gosec // spreads load, guards nothing
}

// Cluster is one target cluster. Its methods may be called concurrently.
type Cluster struct {
	config    *rest.Config
	transport http.RoundTripper
	codecs    runtime.NegotiatedSerializer
	kinds     *kinds
	slots     chan struct{}
	overrides []string
	trusted   bool
	room      *Room
	tenant    string
	served    *discovered   // nil when it is trusted
	pace      *rate.Limiter // of events, when it is not

	mu      sync.Mutex
	clients *lru.Cache // *Client by who it acts as
}

// maxClients is how many identities have a client at once, 3 KB each: tenants choose the names of accounts, so
// that there may be any number of them. Making a client sends nothing.
const maxClients = 1024

// New returns the cluster that a configuration points to. It sends no request. The
// configuration's timeout bounds every request, and of a watch the time to its answer.
// The configuration's own rate limit does not apply: the API server's priority
// and fairness decides.
func New(config *rest.Config, opts Options) (*Cluster, error) {
	connections := opts.Connections
	if connections <= 0 {
		connections = defaultConnections
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	transport, err := newTransport(config, connections)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	c := &Cluster{
		config: config, transport: trusting{transport},
		codecs:    serializer.NewCodecFactory(scheme).WithoutConversion(),
		slots:     make(chan struct{}, connections),
		overrides: opts.OverrideManagers,
		trusted:   opts.Trusted,
		clients:   lru.New(maxClients),
	}
	if !opts.Trusted {
		c.room, c.tenant, c.transport = cmp.Or(opts.Room, NewRoom()), opts.Tenant, bounded{next: transport, cluster: c}
		c.served = &discovered{kept: c.Keep(), sizes: map[string]int64{}}
		c.pace = rate.NewLimiter(eventPace, eventBurst)
	}
	client, err := c.discoveryClient(config)
	if err != nil {
		return nil, err
	}
	if c.kinds, err = newKinds(config, client, c.served); err != nil {
		return nil, err
	}
	return c, nil
}

// Trusted says whether the API server is the applier's own.
func (c *Cluster) Trusted() bool { return c.trusted }

// OverrideManagers returns the prefixes of further field managers to take over.
func (c *Cluster) OverrideManagers() []string { return c.overrides }

// Client returns a client with the cluster configuration's own identity.
func (c *Cluster) Client() (*Client, error) { return c.as("") }

// As returns a client that impersonates a service account. Neither namespace nor
// name may be empty, so that a missing claim never means the applier's own rights.
func (c *Cluster) As(namespace, serviceAccount string) (*Client, error) {
	if namespace == "" || serviceAccount == "" {
		return nil, errors.New("impersonate service account: namespace and name must not be empty")
	}
	if len(validation.IsDNS1123Subdomain(serviceAccount)) > 0 {
		return nil, fmt.Errorf("impersonate service account: %q is not the name of one", serviceAccount)
	}
	return c.as("system:serviceaccount:" + namespace + ":" + serviceAccount)
}

func (c *Cluster) as(user string) (*Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if client, ok := c.clients.Get(user); ok {
		return client.(*Client), nil
	}
	config := rest.CopyConfig(c.config)
	if user != "" {
		config.Impersonate = rest.ImpersonationConfig{UserName: user}
	}
	client, err := c.newClient(config)
	if err != nil {
		return nil, fmt.Errorf("make client for %q: %w", user, err)
	}
	c.clients.Add(user, client)
	return client, nil
}

func (c *Cluster) newClient(config *rest.Config) (*Client, error) {
	httpClient, err := c.httpClient(config)
	if err != nil {
		return nil, err
	}
	config.GroupVersion = &schema.GroupVersion{}
	config.NegotiatedSerializer = c.codecs
	config.ContentType = runtime.ContentTypeJSON
	config.AcceptContentTypes = runtime.ContentTypeJSON
	client, err := rest.RESTClientForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, err
	}
	plain := rest.CopyConfig(config)
	plain.NegotiatedSerializer = nil
	core, err := typedcorev1.NewForConfigAndClient(plain, httpClient)
	if err != nil {
		return nil, err
	}
	endless := *httpClient // a watch has no end; that its answer begins is bounded by the transport
	endless.Timeout = 0
	watches, err := metadata.NewForConfigAndClient(config, &endless)
	if err != nil {
		return nil, err
	}
	asking, err := c.discoveryClient(config)
	if err != nil {
		return nil, err
	}
	served, err := discovery.NewDiscoveryClientForConfigAndClient(plain, asking)
	if err != nil {
		return nil, err
	}
	return &Client{cluster: c, rest: client, core: core, metadata: meta, watches: watches, served: served}, nil
}

// httpClient wraps the shared connections with a configuration's credentials.
func (c *Cluster) httpClient(config *rest.Config) (*http.Client, error) {
	return clientOver(config, c.transport)
}

// discoveryClient is httpClient for what asks what is served: the answers have a bound together.
func (c *Cluster) discoveryClient(config *rest.Config) (*http.Client, error) {
	transport := c.transport
	if b, ok := transport.(bounded); ok {
		b.served = c.served
		transport = b
	}
	return clientOver(config, transport)
}

// HTTPClient returns a client for what writes much to the API server of a configuration: it
// has connections like those of a Cluster.
func HTTPClient(config *rest.Config) (*http.Client, error) {
	transport, err := newTransport(config, defaultConnections)
	if err != nil {
		return nil, err
	}
	return clientOver(config, transport)
}

func clientOver(config *rest.Config, transport http.RoundTripper) (*http.Client, error) {
	rt, err := rest.HTTPWrappersForConfig(config, transport)
	if err != nil {
		return nil, fmt.Errorf("set up credentials: %w", err)
	}
	return &http.Client{Transport: rt, Timeout: config.Timeout}, nil
}

func newTransport(config *rest.Config, connections int) (http.RoundTripper, error) {
	if config.Transport != nil {
		return config.Transport, nil
	}
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, fmt.Errorf("set up TLS: %w", err)
	}
	if tls != nil {
		tls.NextProtos = []string{"http/1.1"}
	}
	dial := config.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	proxy := config.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	return &http.Transport{
		Proxy: proxy, DialContext: dial, TLSClientConfig: tls,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: config.Timeout,
		MaxIdleConnsPerHost: connections, IdleConnTimeout: idleTime, MaxResponseHeaderBytes: 1 << 20,
		DisableCompression: config.DisableCompression,
	}, nil
}
