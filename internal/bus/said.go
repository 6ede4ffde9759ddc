package bus

import (
	"sync"

	"github.com/sluice-gitops/sluice/events"
)

// Said remembers what was last logged of each key's failures, so that one that is
// tried again and again is logged once. Its zero value remembers nothing, as every
// process does that begins. It may be used concurrently.
type Said struct {
	mu   sync.Mutex
	text map[events.Key]string
}

// News says whether a key's failure was not logged since the key last succeeded,
// and takes it for logged.
func (s *Said) News(key events.Key, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.text[key]; ok && old == text {
		return false
	}
	if s.text == nil {
		s.text = map[events.Key]string{}
	}
	s.text[key] = text
	return true
}

// Forget ends a key's row of failures.
func (s *Said) Forget(key events.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.text, key)
}
