package identity

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestManyAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k kept
		var asked int
		ask := func(context.Context) (any, time.Time, error) {
			<-time.After(time.Second)
			asked++
			return asked, time.Now().Add(10 * time.Minute), nil
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if got, err := k.get(t.Context(), []string{"a", "b"}, ask); err != nil || got != 1 {
					t.Errorf("got %v, %v", got, err)
				}
			})
		}
		all.Wait()
		if _, err := k.get(t.Context(), []string{"ab", ""}, ask); err != nil || asked != 2 {
			t.Errorf("another scope, which reads the same when joined, was not asked for: %v", err)
		}
		<-time.After(7 * time.Minute)
		if got, _ := k.get(t.Context(), []string{"a", "b"}, ask); got != 1 {
			t.Errorf("after seven of ten minutes it was asked again")
		}
		<-time.After(2 * time.Minute)
		if got, _ := k.get(t.Context(), []string{"a", "b"}, ask); got != 3 {
			t.Errorf("after nine of ten minutes it was not asked again")
		}
	})
}

func TestNothingIsKeptLongerThanAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k kept
		asked := 0
		ask := func(context.Context) (any, time.Time, error) {
			asked++
			return asked, time.Now().Add(12 * time.Hour), nil
		}
		for range 3 {
			if _, err := k.get(t.Context(), []string{"a"}, ask); err != nil {
				t.Fatal(err)
			}
			<-time.After(59 * time.Minute)
		}
		if asked != 2 {
			t.Errorf("asked %d times in two hours, want 2", asked)
		}
	})
}

// A server that does not answer holds up who waits for it, and nobody else.
func TestWaitsAreNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k kept
		stalled := func(ctx context.Context) (any, time.Time, error) {
			<-ctx.Done()
			return nil, time.Time{}, ctx.Err()
		}
		slow, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := k.get(slow, []string{"slow"}, stalled)
			done <- err
		}()
		synctest.Wait()
		quick := func(context.Context) (any, time.Time, error) { return "quick", time.Now().Add(time.Hour), nil }
		if got, err := k.get(t.Context(), []string{"quick"}, quick); err != nil || got != "quick" {
			t.Errorf("got %v, %v", got, err)
		}
		waiting, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		if _, err := k.get(waiting, []string{"slow"}, quick); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits longer than it may got %v", err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if got, err := k.get(t.Context(), []string{"slow"}, quick); err != nil || got != "quick" {
			t.Errorf("a failure was kept: %v, %v", got, err)
		}
	})
}
