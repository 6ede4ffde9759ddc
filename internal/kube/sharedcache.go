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
	users int
	stop  context.CancelFunc
	ended chan struct{} // closed when the cache ended; nil before it runs
	err   error         // why, readable then
}

// New is a manager's cache.NewCacheFunc. The first caller's configuration and options
// make the cache, so all callers must want the same.
func (s *SharedCache) New(config *rest.Config, options cache.Options) (cache.Cache, error) {
	return s.share(func() (cache.Cache, error) { return cache.New(config, options) })
}

func (s *SharedCache) share(open func() (cache.Cache, error)) (cache.Cache, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cache == nil {
		c, err := open()
		if err != nil {
			return nil, err
		}
		s.cache = c
	}
	return sharedCache{Cache: s.cache, of: s}, nil
}

// sharedCache is what one manager has of a SharedCache.
type sharedCache struct {
	cache.Cache
	of *SharedCache
}

// Start returns when ctx ends or the cache fails. The cache runs from the first Start
// until the last one has ended.
func (c sharedCache) Start(ctx context.Context) error {
	ended := c.of.join(ctx)
	defer c.of.leave()
	select {
	case <-ended:
		return c.of.err
	case <-ctx.Done():
		return nil
	}
}

func (s *SharedCache) join(ctx context.Context) (ended <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
	if s.ended == nil {
		run, stop := context.WithCancel(context.WithoutCancel(ctx))
		s.stop, s.ended = stop, make(chan struct{})
		go func() {
			defer close(s.ended)
			s.err = s.cache.Start(run)
		}()
	}
	return s.ended
}

func (s *SharedCache) leave() {
	s.mu.Lock()
	s.users--
	last := s.users == 0
	s.mu.Unlock()
	if last {
		s.stop()
		<-s.ended
	}
}
