package index

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	notificationv1 "github.com/fluxcd/notification-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Route is one Receiver, ready to judge deliveries. It is not changed after Put.
type Route struct {
	Receiver types.NamespacedName
	UID      types.UID
	// Path is the exact request URI it answers to.
	Path string
	// Type and Token authenticate a delivery; Events are the accepted ones.
	Type, Token string
	Events      []string
	Resources   []notificationv1.ReceiverResource
	// Closed says why deliveries are not taken now; empty when they are.
	Closed string
	// Created decides which of two Receivers with the same path answers: the older.
	Created time.Time
}

// Index finds routes by path. The zero value is empty and not loaded. It is safe for
// concurrent use.
type Index struct {
	loaded atomic.Bool
	mu     sync.RWMutex
	paths  map[string][]Route
	places map[types.NamespacedName]string
}

// Loaded says whether every Receiver that there was at the start is known, so that
// an unknown path is known to have none.
func (x *Index) Loaded() bool { return x.loaded.Load() }

// Find returns the route of a path.
func (x *Index) Find(path string) (Route, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	routes := x.paths[path]
	if len(routes) == 0 {
		return Route{}, false
	}
	return routes[0], true
}

// Put adds a Receiver's route or replaces it.
func (x *Index) Put(r Route) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(r.Receiver)
	if x.paths == nil {
		x.paths, x.places = map[string][]Route{}, map[types.NamespacedName]string{}
	}
	routes := append(x.paths[r.Path], r)
	slices.SortFunc(routes, func(a, b Route) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Receiver.String(), b.Receiver.String()))
	})
	x.paths[r.Path], x.places[r.Receiver] = routes, r.Path
}

// Remove forgets a Receiver.
func (x *Index) Remove(receiver types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(receiver)
}

func (x *Index) remove(receiver types.NamespacedName) {
	path, found := x.places[receiver]
	if !found {
		return
	}
	delete(x.places, receiver)
	left := slices.DeleteFunc(x.paths[path], func(r Route) bool { return r.Receiver == receiver })
	if len(left) == 0 {
		delete(x.paths, path)
		return
	}
	x.paths[path] = left
}
