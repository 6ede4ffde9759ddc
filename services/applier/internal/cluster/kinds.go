package cluster

import (
	"fmt"
	"net/http"
	"sync"

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

	mu     sync.RWMutex
	mapper meta.RESTMapper
}

func newKinds(config *rest.Config, client *http.Client) (*kinds, error) {
	k := &kinds{config: config, client: client}
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
	k.mapper = mapper
	return nil
}

func (k *kinds) mapping(gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	k.mu.RLock()
	mapper := k.mapper
	k.mu.RUnlock()
	if gvk.Version == "" {
		return mapper.RESTMapping(gvk.GroupKind())
	}
	return mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
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
