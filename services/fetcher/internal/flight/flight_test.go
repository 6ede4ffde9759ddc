package flight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// answers gives answers when the test says so.
type answers struct {
	begun int
	next  chan answer
}

type answer struct {
	text string
	err  error
}

func (a *answers) ask() (string, error) {
	a.begun++
	got := <-a.next
	return got.text, got.err
}

// outcome is what one who asked was told.
type outcome struct {
	text string
	own  bool
	err  error
}

// pass lets the clock of the bubble, which no time passes for, move on.
func pass(d time.Duration) { <-time.After(d) }

func tick() { pass(time.Nanosecond) }

func TestWhoAsksAtTheSameTimeShares(t *testing.T) {
	key, failed := Key{1}, errors.New("no route")
	for name, test := range map[string]struct {
		// late is how many ask while the first answer is under way; quit of them
		// give up, from the first on, once the second has begun, and lost tells the
		// first to give up meanwhile.
		late, quit int
		lost       bool
		first      answer
		second     answer
		asked      int
		want       []outcome // of the late ones that stayed
	}{
		"one alone": {first: answer{text: "old"}, asked: 1},
		"who comes during an answer waits for the next one": {late: 3, first: answer{text: "old"}, second: answer{text: "new"}, asked: 2, want: []outcome{{"new", true, nil}, {"new", false, nil}, {"new", false, nil}}},
		"a failure is everybody's":                          {late: 2, first: answer{text: "old"}, second: answer{err: failed}, asked: 2, want: []outcome{{"", false, failed}, {"", false, failed}}},
		"who gives up harms nobody":                         {late: 3, quit: 1, first: answer{text: "old"}, second: answer{text: "new"}, asked: 3, want: []outcome{{"new", true, nil}, {"new", false, nil}}},
		"all give up":                                       {late: 2, quit: 2, first: answer{text: "old"}, second: answer{text: "new"}, asked: 3},
		"a failed answer whose asker is gone":               {late: 1, lost: true, first: answer{err: failed}, second: answer{text: "new"}, asked: 2, want: []outcome{{"new", true, nil}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var all Group[string]
				source := &answers{next: make(chan answer)}
				ask := func(ctx context.Context) chan outcome {
					told := make(chan outcome, 1)
					tick()
					go func() {
						got, err := all.Do(ctx, key, func() (string, error) {
							text, err := source.ask()
							if ctx.Err() != nil {
								return "", context.Cause(ctx)
							}
							return text, err
						})
						told <- outcome{got.Value, got.Own, err}
						if err == nil {
							got.Close()
						}
					}()
					synctest.Wait()
					return told
				}
				begin, give := context.WithCancel(t.Context())
				first := ask(begin)
				leave := make([]context.CancelFunc, test.late)
				late := make([]chan outcome, test.late)
				for i := range late {
					var ctx context.Context
					ctx, leave[i] = context.WithCancel(t.Context())
					late[i] = ask(ctx)
				}
				if source.begun != 1 {
					t.Fatalf("%d asked at once", source.begun)
				}
				if test.lost {
					give()
				}
				source.next <- test.first
				synctest.Wait()
				if got := <-first; got.text != test.first.text && !test.lost {
					t.Errorf("the first got %v", got)
				}
				for i := range test.quit {
					leave[i]()
					synctest.Wait()
					if i == 0 { // it was asking
						source.next <- answer{}
						synctest.Wait()
					}
				}
				if len(test.want) > 0 {
					source.next <- test.second
				}
				synctest.Wait()
				for i, want := range test.want {
					if got := <-late[test.quit+i]; got != want {
						t.Errorf("late %d got %v, want %v", test.quit+i, got, want)
					}
				}
				if test.quit == test.late && test.quit > 0 {
					close(source.next)
				}
				synctest.Wait()
				if source.begun != test.asked || len(all.lines) != 0 {
					t.Errorf("%d asked, want %d; %d lines are left", source.begun, test.asked, len(all.lines))
				}
				give()
				for _, l := range leave {
					l()
				}
			})
		})
	}
}

// Answers are kept for who needs none that is younger.
func TestAnswersAreKept(t *testing.T) {
	const keep = 10 * time.Second
	for name, test := range map[string]struct {
		// after the first answer the clock moves on by wait; then somebody asks for whom
		// an answer will do that is no older than age.
		wait, age time.Duration
		key       byte
		forget    bool
		asked     int
	}{
		"an answer that is young enough":     {wait: time.Second, age: 2 * time.Second, asked: 1},
		"one that is too old":                {wait: 3 * time.Second, age: 2 * time.Second, asked: 2},
		"one that is as old, to the instant": {wait: time.Second, age: time.Second, asked: 2},
		"one that is kept no longer":         {wait: keep + 1, age: time.Hour, asked: 2},
		"one that was of no use":             {wait: time.Second, age: time.Hour, forget: true, asked: 2},
		"another key":                        {wait: time.Second, age: time.Hour, key: 2, asked: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var dropped []int
				all := Group[int]{Keep: keep, Drop: func(n int) { dropped = append(dropped, n) }}
				asked := 0
				ask := func() (int, error) { asked++; return asked, nil }
				first, err := all.Do(t.Context(), Key{}, ask)
				if err != nil || !first.Own {
					t.Fatal(first, err)
				}
				pass(test.wait)
				if test.forget {
					all.Forget(Key{})
				}
				second, err := all.Do(Since(t.Context(), time.Now().Add(-test.age)), Key{test.key}, ask)
				if err != nil || second.Value != test.asked || second.Own != (test.asked == 2) {
					t.Errorf("got %+v, %v", second, err)
				}
				if asked != test.asked {
					t.Errorf("asked %d times, want %d", asked, test.asked)
				}
				pass(2 * keep)
				synctest.Wait()
				if len(dropped) != 0 {
					t.Errorf("dropped %v while it was used", dropped)
				}
				first.Close()
				first.Close() // once more does no harm
				if second.Own != slices.Equal(dropped, []int{1}) {
					t.Errorf("dropped %v when the first was closed", dropped)
				}
				second.Close()
				if len(dropped) != test.asked || len(all.lines) != 0 {
					t.Errorf("dropped %v of %d; %d lines are left", dropped, test.asked, len(all.lines))
				}
			})
		})
	}
}

// Who came before an answer was asked for, by the time that Since says, shares it while it is under way.
func TestAnswerUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		woken := time.Now()
		tick()
		var all Group[string]
		source := &answers{next: make(chan answer)}
		results := make(chan outcome, 5)
		for range 5 {
			go func() {
				got, err := all.Do(Since(t.Context(), woken), Key{}, source.ask)
				results <- outcome{got.Value, got.Own, err}
			}()
			tick()
			synctest.Wait()
		}
		source.next <- answer{text: "one"}
		own := 0
		for range 5 {
			got := <-results
			if got.text != "one" || got.err != nil {
				t.Errorf("got %v", got)
			}
			if got.own {
				own++
			}
		}
		if source.begun != 1 || own != 1 {
			t.Errorf("asked %d times, %d of them as their own", source.begun, own)
		}
	})
}

func TestKeys(t *testing.T) {
	type login struct{ User, Password string }
	seen := map[Key]string{}
	for name, parts := range map[string][]any{
		"a login":             {"url", login{"ab", "c"}},
		"split elsewhere":     {"url", login{"a", "bc"}},
		"another URL":         {"url2", login{"ab", "c"}},
		"no login":            {"url", login{}},
		"a part more":         {"url", login{"ab", "c"}, nil},
		"bytes":               {"url", []byte("ab")},
		"bytes as their text": {"url", "ab"},
	} {
		key, err := KeyOf(parts...)
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := seen[key]; taken {
			t.Errorf("%q has the key of %q", name, other)
		}
		seen[key] = name
	}
	if _, err := KeyOf(func() {}); err == nil {
		t.Error("what cannot be written got a key")
	}
}

// A panic of who asks is its own: the next one asks again.
func TestPanicBlocksNobody(t *testing.T) {
	var g Group[string]
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = g.Do(t.Context(), Key{1}, func() (string, error) { panic("broken") })
	}()
	answer, err := g.Do(t.Context(), Key{1}, func() (string, error) { return "new", nil })
	if err != nil || answer.Value != "new" {
		t.Errorf("after a panic: %q, %v", answer.Value, err)
	}
}

func TestKeysOfBytesThatAreNoText(t *testing.T) {
	one, err := KeyOf("user", "\xff\xfe")
	other, err2 := KeyOf("user", "\xfd\xfc")
	if err != nil || err2 != nil || one == other {
		t.Errorf("different passwords have the key %x, %v, %v", one, err, err2)
	}
}

// A request that hangs is its own caller's: others wait for half of their time, one of them
// asks, and its answer is everybody's, also of those who come later.
func TestRequestThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Group[string]{Keep: Keep}
		release, asked := make(chan struct{}), 0
		hung := make(chan outcome, 1)
		go func() {
			got, err := g.Do(t.Context(), Key{}, func() (string, error) { <-release; return "late", nil })
			hung <- outcome{got.Value, got.Own, err}
			got.Close()
		}()
		synctest.Wait()
		tick()
		results := make(chan outcome, 4)
		follow := func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			got, err := g.Do(ctx, Key{}, func() (string, error) {
				asked++
				pass(time.Second)
				return "new", nil
			})
			if waited := time.Since(began); waited > 31*time.Second {
				t.Errorf("waited for %s", waited)
			}
			results <- outcome{got.Value, got.Own, err}
			got.Close()
		}
		for range 3 {
			go follow()
		}
		for range 3 {
			if got := <-results; got.text != "new" || got.err != nil {
				t.Errorf("got %v", got)
			}
		}
		pass(2 * Keep)
		began := time.Now()
		follow()
		if got := <-results; got != (outcome{"new", true, nil}) || time.Since(began) != time.Second {
			t.Errorf("who came later got %v after %s", got, time.Since(began))
		}
		if asked != 2 {
			t.Errorf("asked %d times, want 2", asked)
		}
		close(release)
		if got := <-hung; got != (outcome{"late", true, nil}) {
			t.Errorf("the one that hung got %v", got)
		}
		pass(2 * Keep)
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.lines) != 0 {
			t.Errorf("%d lines are left", len(g.lines))
		}
	})
}

// Who may not ask now tells nobody else anything: the next one who waits asks.
func TestWhoMayNotAskLeavesItToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all Group[string]
		next, told := make(chan answer), make(chan outcome, 3)
		for range 3 {
			go func() {
				got, err := all.Do(Since(t.Context(), time.Time{}), Key{1}, func() (string, error) {
					a := <-next
					return a.text, a.err
				})
				told <- outcome{got.Value, got.Own, err}
				if err == nil {
					got.Close()
				}
			}()
		}
		synctest.Wait()
		next <- answer{err: fmt.Errorf("wait: %w", ErrNotAsked)}
		if got := <-told; !errors.Is(got.err, ErrNotAsked) {
			t.Errorf("the first got %v", got)
		}
		next <- answer{text: "new"}
		for range 2 {
			if got := <-told; got.text != "new" || got.err != nil {
				t.Errorf("another one got %v", got)
			}
		}
	})
}
