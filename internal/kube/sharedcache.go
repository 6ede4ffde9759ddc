package kube

import (
	"context"
	"sync"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// SharedCache is one cache for the managers of a process that want the same of it, so
// that each kind is watched, decoded and kept once.
type SharedCache struct {
	mu    sync.Mutex
	cache cache.Cache
	run   sync.Once
}

// New is a manager's cache.NewCacheFunc. The first caller's configuration and options
// make the cache.
func (s *SharedCache) New(config *rest.Config, options cache.Options) (cache.Cache, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cache == nil {
		c, err := cache.New(config, options)
		if err != nil {
			return nil, err
		}
		s.cache = c
	}
	return sharedCache{Cache: s.cache, run: &s.run}, nil
}

// sharedCache is what one manager has of a SharedCache.
type sharedCache struct {
	cache.Cache
	run *sync.Once
}

// Start runs the cache with the first manager, and ends with its own.
func (c sharedCache) Start(ctx context.Context) (err error) {
	c.run.Do(func() { err = c.Cache.Start(ctx) })
	if err == nil {
		<-ctx.Done()
	}
	return err
}
