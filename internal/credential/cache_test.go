package credential

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
		var k Cache[any]
		var asked int
		ask := func(context.Context) (any, time.Time, error) {
			<-time.After(time.Second)
			asked++
			return asked, time.Now().Add(10 * time.Minute), nil
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if got, err := k.Get(t.Context(), KeyOf("a", "b"), ask); err != nil || got != 1 {
					t.Errorf("got %v, %v", got, err)
				}
			})
		}
		all.Wait()
		if _, err := k.Get(t.Context(), KeyOf("ab", ""), ask); err != nil || asked != 2 {
			t.Errorf("another scope, which reads the same when joined, was not asked for: %v", err)
		}
		<-time.After(7 * time.Minute)
		if got, _ := k.Get(t.Context(), KeyOf("a", "b"), ask); got != 1 {
			t.Errorf("after seven of ten minutes it was asked again")
		}
		<-time.After(2 * time.Minute)
		if got, _ := k.Get(t.Context(), KeyOf("a", "b"), ask); got != 3 {
			t.Errorf("after nine of ten minutes it was not asked again")
		}
	})
}

func TestNothingIsKeptLongerThanAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k Cache[any]
		asked := 0
		ask := func(context.Context) (any, time.Time, error) {
			asked++
			return asked, time.Now().Add(12 * time.Hour), nil
		}
		for range 3 {
			if _, err := k.Get(t.Context(), KeyOf("a"), ask); err != nil {
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
		var k Cache[any]
		stalled := func(ctx context.Context) (any, time.Time, error) {
			<-ctx.Done()
			return nil, time.Time{}, ctx.Err()
		}
		slow, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := k.Get(slow, KeyOf("slow"), stalled)
			done <- err
		}()
		synctest.Wait()
		quick := func(context.Context) (any, time.Time, error) { return "quick", time.Now().Add(time.Hour), nil }
		if got, err := k.Get(t.Context(), KeyOf("quick"), quick); err != nil || got != "quick" {
			t.Errorf("got %v, %v", got, err)
		}
		waiting, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		if _, err := k.Get(waiting, KeyOf("slow"), quick); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits longer than it may got %v", err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if got, err := k.Get(t.Context(), KeyOf("slow"), quick); err != nil || got != "quick" {
			t.Errorf("a failure was kept: %v, %v", got, err)
		}
	})
}

// What a server refuses is asked for again, and what replaced it meanwhile is not.
func TestWhatIsRefusedIsDropped(t *testing.T) {
	var k Cache[int]
	asked := 0
	get := func() int {
		t.Helper()
		got, err := k.Get(t.Context(), KeyOf("a"), func(context.Context) (int, time.Time, error) {
			asked++
			return asked, time.Now().Add(time.Hour), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := get()
	k.Drop(KeyOf("b"), func(int) bool { return true })
	if get() != first {
		t.Error("it was dropped with that of another key")
	}
	k.Drop(KeyOf("a"), func(v int) bool { return v == first })
	second := get()
	if second == first {
		t.Error("what was refused was kept")
	}
	k.Drop(KeyOf("a"), func(v int) bool { return v == first })
	if get() != second {
		t.Error("what replaced it was dropped")
	}
}
