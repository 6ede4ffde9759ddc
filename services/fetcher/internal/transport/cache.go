package transport

import (
	"net/http"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
)

const (
	// maxClients bounds how many clients are kept, idleClients how long one that is not
	// used.
	maxClients  = 4096
	idleClients = 2 * time.Hour
)

// Clients keeps clients of servers, and with them logins and connections, from pass to
// pass. The zero value is empty. It is safe for concurrent use.
type Clients[T any] struct {
	mu   sync.Mutex
	kept map[flight.Key]*client[T]
}

type client[T any] struct {
	made T
	via  *http.Transport
	used time.Time
}

// Get returns the client for a server and credentials, which are the parts of scope as
// flight.KeyOf takes them; it is created when there is none.
func (c *Clients[T]) Get(scope []any, via func() (*http.Transport, error), create func(http.RoundTripper) (T, error)) (T, error) {
	var none T
	key, err := flight.KeyOf(scope...)
	if err != nil {
		return none, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if found := c.kept[key]; found != nil {
		found.used = now
		return found.made, nil
	}
	connections, err := via()
	if err != nil {
		return none, err
	}
	made, err := create(Guard(connections))
	if err != nil {
		return none, err
	}
	c.trim(now)
	c.kept[key] = &client[T]{made: made, via: connections, used: now}
	return made, nil
}

// trim drops what was not used for long, and everything when there is too much.
func (c *Clients[T]) trim(now time.Time) {
	if c.kept == nil {
		c.kept = map[flight.Key]*client[T]{}
	}
	full := len(c.kept) >= maxClients
	for key, old := range c.kept {
		if full || now.Sub(old.used) > idleClients {
			old.via.CloseIdleConnections()
			delete(c.kept, key)
		}
	}
}

// FromData returns the transport that the data of a certSecretRef and of a proxySecretRef
// ask for; each may be nil.
func FromData(tlsData, proxyData map[string][]byte) (*http.Transport, error) {
	made := New(nil, nil)
	if tlsData != nil {
		config, err := TLS(tlsData)
		if err != nil {
			return nil, err
		}
		made = New(config, nil)
	}
	if proxyData != nil {
		proxy, err := Proxy(proxyData)
		if err != nil {
			return nil, err
		}
		made.Proxy = http.ProxyURL(proxy)
	}
	return made, nil
}
