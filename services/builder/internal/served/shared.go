package served

import (
	"context"
	"sync"
)

// shared reads something once for all who ask before the read begins. Nobody gets what was
// read before he asked, and at most one read is under way.
type shared[T any] struct {
	mu      sync.Mutex
	running bool
	next    *reading[T]
}

// reading is one read, and what came of it once done is closed.
type reading[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// get returns what a read gives that begins after the call.
func (s *shared[T]) get(ctx context.Context, read func() (T, error)) (T, error) {
	r := s.join(read)
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// join returns the read that begins next.
func (s *shared[T]) join(read func() (T, error)) *reading[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = &reading[T]{done: make(chan struct{})}
	}
	if !s.running {
		s.running = true
		go s.run(read)
	}
	return s.next
}

// run reads until nobody waits for a read.
func (s *shared[T]) run(read func() (T, error)) {
	for {
		s.mu.Lock()
		r := s.next
		s.next = nil
		s.running = r != nil
		s.mu.Unlock()
		if r == nil {
			return
		}
		r.value, r.err = read()
		close(r.done)
	}
}
