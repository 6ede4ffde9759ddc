package served

import (
	"context"
	"errors"
	"testing"
)

// TestShared reads while others ask: who asks during a read gets the next one, and an error is
// all of theirs.
func TestShared(t *testing.T) {
	var s shared[int]
	reads, begun, goOn := 0, make(chan struct{}), make(chan error)
	read := func() (int, error) {
		reads++
		begun <- struct{}{}
		return reads, <-goOn
	}
	type answer struct {
		value int
		err   error
	}
	answers := make(chan answer)
	ask := func() {
		value, err := s.get(t.Context(), read)
		answers <- answer{value, err}
	}
	go ask()
	<-begun
	joined := s.join(read)
	for range 3 {
		go ask()
	}
	goOn <- nil
	if got := <-answers; got != (answer{1, nil}) {
		t.Errorf("the first got %v", got)
	}
	<-begun
	select {
	case <-joined.done:
		t.Error("one that asked during the first read got its value")
	default:
	}
	failed := errors.New("failed")
	for answered := 0; answered < 3; {
		select {
		case goOn <- failed:
		case <-begun:
		case got := <-answers:
			answered++
			if got.value < 2 || !errors.Is(got.err, failed) {
				t.Errorf("one that asked during the first read got %v", got)
			}
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	never := func() (int, error) { <-t.Context().Done(); return 0, nil }
	if _, err := s.get(ended, never); !errors.Is(err, context.Canceled) {
		t.Errorf("one that is gone got %v", err)
	}
}
