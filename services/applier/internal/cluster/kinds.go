package cluster

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// kinds maps kinds to resources. What discovery said is kept; a kind that is not
// known asks again, so one that was installed a moment ago is found.
type kinds struct {
	config *rest.Config
	client *http.Client
	served *discovered

	mu     sync.RWMutex
	mapper meta.RESTMapper
	known  map[schema.GroupVersionKind]*meta.RESTMapping

	// asking is held by who asks the API server, so that who knows a kind already waits for nobody. When an answer did not
	// come, silent is that error, and those who ask soon after are told the same.
	asking sync.Mutex
	silent error
	since  time.Time
}

// silence is for how long nobody else asks an API server that did not answer: all who waited meanwhile would wait as long.
const silence = 10 * time.Second

func newKinds(config *rest.Config, client *http.Client, served *discovered) (*kinds, error) {
	k := &kinds{config: config, client: client, served: served}
	return k, k.reset()
}

// reset forgets what discovery said, as after a kind went away.
func (k *kinds) reset() error {
	mapper, err := apiutil.NewDynamicRESTMapper(k.config, k.client)
	if err != nil {
		return fmt.Errorf("set up discovery: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mapper, k.known = mapper, map[schema.GroupVersionKind]*meta.RESTMapping{}
	k.served.reset()
	return nil
}

func (k *kinds) mapping(gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	if m, _ := k.look(gvk); m != nil {
		return m, nil
	}
	k.asking.Lock()
	defer k.asking.Unlock()
	m, mapper := k.look(gvk)
	if m != nil {
		return m, nil
	}
	if k.silent != nil && time.Since(k.since) < silence {
		return nil, k.silent
	}
	var versions []string
	if gvk.Version != "" {
		versions = []string{gvk.Version}
	}
	m, err := mapper.RESTMapping(gvk.GroupKind(), versions...)
	if k.silent = nil; TimedOut(err) {
		k.silent, k.since = err, time.Now()
	}
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mapper == mapper { // it was not forgotten meanwhile
		k.known[gvk] = m
	}
	return m, nil
}

// look returns what is known of a kind, nil when that is nothing, and the mapper to ask.
func (k *kinds) look(gvk schema.GroupVersionKind) (*meta.RESTMapping, meta.RESTMapper) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.known[gvk], k.mapper
}

// Mapping returns how the API server serves a kind. With an empty version it is
// the server's preferred one. The error of a kind that is not served satisfies
// meta.IsNoMatchError.
func (c *Cluster) Mapping(gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	return c.kinds.mapping(gvk)
}

// ForgetKinds drops what discovery said. The next use of a kind asks again.
func (c *Cluster) ForgetKinds() error { return c.kinds.reset() }

// Namespaced reports whether objects of a kind live in a namespace.
func (c *Cluster) Namespaced(gvk schema.GroupVersionKind) (bool, error) {
	m, err := c.Mapping(gvk)
	if err != nil {
		return false, err
	}
	return m.Scope.Name() == meta.RESTScopeNameNamespace, nil
}
