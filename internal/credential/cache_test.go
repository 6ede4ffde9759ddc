package credential

import (
	"context"
	"errors"
	"fmt"
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

// Credentials that do not say when they end are kept for an hour at most, as others are, and not
// asked for each time.
func TestAnUnknownEndIsAnHourAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := false
		get, _ := counted(t, &fails, func() time.Time { return time.Time{} })
		for _, step := range []struct {
			why   string
			after time.Duration
			fails bool
			want  int // zero when there are none
		}{
			{"they are asked for", 0, false, 1},
			{"they are kept", 47 * time.Minute, false, 1},
			{"they are renewed", 2 * time.Minute, false, 2},
			{"they are used while nobody gives others", 59 * time.Minute, true, 2},
			{"but no longer than an hour", time.Minute, true, 0},
			{"and asked for again", 0, false, 5},
		} {
			<-time.After(step.after)
			fails = step.fails
			if got, err := get(); got != step.want || (err != nil) != (step.want == 0) {
				t.Errorf("%s: got %d, %v, want %d", step.why, got, err, step.want)
			}
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

// While they last, credentials are used although nobody gives new ones, which are asked for now
// and then. When they have ended, it is told why there are none.
func TestCredentialsAreUsedUntilTheyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := false
		get, asked := counted(t, &fails, func() time.Time { return time.Now().Add(10 * time.Minute) })
		began := time.Now()
		if got, err := get(); got != 1 || err != nil {
			t.Fatal(got, err)
		}
		fails = true
		for time.Since(began) < 9*time.Minute+25*time.Second {
			if got, err := get(); got != 1 || err != nil {
				t.Fatalf("after %s: %v, %v", time.Since(began), got, err)
			}
			<-time.After(time.Second)
		}
		if *asked < 3 || *asked > 5 { // every 30 s of the last two minutes
			t.Errorf("asked %d times", *asked)
		}
		<-time.After(10 * time.Second)
		if got, err := get(); err == nil {
			t.Errorf("%d was used %s after it was given", got, time.Since(began))
		}
		fails = false
		if got, err := get(); got != *asked || err != nil {
			t.Errorf("afterwards: %v, %v", got, err)
		}
	})
}

// Whoever asks for new credentials while the old ones last is not kept by a server that does
// not answer, and nobody else waits at all. What was refused meanwhile is used no more.
func TestRenewalIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k Cache[string]
		stalled := func(ctx context.Context) (string, time.Time, error) {
			<-ctx.Done()
			return "", time.Time{}, ctx.Err()
		}
		get := func(ask func(context.Context) (string, time.Time, error)) (string, time.Duration) {
			began := time.Now()
			got, err := k.Get(t.Context(), KeyOf("a"), ask)
			if err != nil {
				got = err.Error()
			}
			return got, time.Since(began)
		}
		get(func(context.Context) (string, time.Time, error) { return "first", time.Now().Add(time.Hour), nil })
		<-time.After(50 * time.Minute)
		var renews sync.WaitGroup
		renews.Go(func() {
			if got, took := get(stalled); got != "first" || took > 10*time.Second {
				t.Errorf("who renews got %q after %s", got, took)
			}
		})
		synctest.Wait()
		if got, took := get(stalled); got != "first" || took > 0 {
			t.Errorf("who does not renew got %q after %s", got, took)
		}
		renews.Wait()
		<-time.After(time.Minute)
		renews.Go(func() {
			if got, _ := get(stalled); got == "first" {
				t.Error("what was refused is used")
			}
		})
		synctest.Wait()
		k.Drop(KeyOf("a"), func(v string) bool { return v == "first" })
		renews.Wait()
	})
}

// Of too many credentials those go that ended, then those that nobody needed for longest.
func TestTheUnusedAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k Cache[int]
		asked := 0
		get := func(n int, life time.Duration) int {
			t.Helper()
			got, err := k.Get(t.Context(), KeyOf(fmt.Sprint(n)), func(context.Context) (int, time.Time, error) {
				asked++
				return asked, time.Now().Add(life), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Millisecond)
			return got
		}
		for n := range maxKept {
			life := time.Hour
			if n%2 == 1 && n < 100 {
				life = time.Minute
			}
			get(n, life)
		}
		<-time.After(2 * time.Minute)
		needed := get(0, time.Hour)
		for n := range 51 { // as many as have ended, and one more
			get(-1-n, time.Hour)
		}
		before := asked
		if get(0, time.Hour) != needed || asked != before {
			t.Error("what was needed a moment ago was forgotten")
		}
		if get(4, time.Hour); asked != before {
			t.Error("what lasts was forgotten although others ended")
		}
		if get(2, time.Hour); asked != before+1 {
			t.Error("what nobody needed for longest was not forgotten")
		}
		if n := len(k.entries); n > maxKept {
			t.Errorf("%d are kept", n)
		}
	})
}

// counted returns what gets credentials, which are numbers: how often they were asked for by then, as
// asked says, too. They end when ends says.
func counted(t *testing.T, fails *bool, ends func() time.Time) (get func() (int, error), asked *int) {
	var k Cache[int]
	asked = new(int)
	return func() (int, error) {
		return k.Get(t.Context(), KeyOf("a"), func(context.Context) (int, time.Time, error) {
			if *asked++; *fails {
				return 0, time.Time{}, errors.New("nobody answers")
			}
			return *asked, ends(), nil
		})
	}, asked
}

func TestLookingKeepsNothing(t *testing.T) {
	var k Cache[string]
	for n := range 10 {
		key := KeyOf("stranger", fmt.Sprint(n))
		if _, ok := k.Kept(key); ok {
			t.Error("something is kept that nobody asked for")
		}
		k.Drop(key, func(string) bool { return true })
	}
	if len(k.entries) > 0 {
		t.Errorf("looking at 10 keys made %d entries, which may take the place of others", len(k.entries))
	}
	ask := func(context.Context) (string, time.Time, error) { return "token", time.Time{}, nil }
	if _, err := k.Get(t.Context(), KeyOf("known"), ask); err != nil {
		t.Fatal(err)
	}
	if got, ok := k.Kept(KeyOf("known")); !ok || got != "token" {
		t.Errorf("kept %q, %v", got, ok)
	}
}

func TestLookingCountsAsUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k Cache[int]
		ask := func(context.Context) (int, time.Time, error) { return 1, time.Time{}, nil }
		for n := range maxKept {
			if _, err := k.Get(t.Context(), KeyOf(fmt.Sprint(n)), ask); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Second)
		if _, ok := k.Kept(KeyOf("0")); !ok {
			t.Error("what fits is forgotten")
		}
		<-time.After(time.Second)
		for n := range 10 {
			if _, err := k.Get(t.Context(), KeyOf("more", fmt.Sprint(n)), ask); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok := k.Kept(KeyOf("0")); !ok {
			t.Error("what was looked at a moment ago made room before what nobody needed for longer")
		}
	})
}
