package share_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/share"
)

// TestLine plays who asks and who leaves. Letters ask, -x gives back one place of x.
func TestLine(t *testing.T) {
	for _, c := range []struct {
		why          string
		places, each int
		play, want   string // want: who was granted, in that order
	}{
		{"one tenant gets its share and no more", 12, 8, "a a a a a a a a a a a a", "a a a a a a a a"},
		{"the reserve is the others'", 12, 8, strings.Repeat("a ", 12) + "b b", strings.Repeat("a ", 8) + "b b"},
		{"two busy tenants leave a place to a third", 12, 8, strings.Repeat("a ", 12) + strings.Repeat("b ", 12) + "c", strings.Repeat("a ", 8) + "b b b c"},
		{"as do three", 12, 8, strings.Repeat("a b c ", 12) + "d", "a b c a b c a b c a b d"},
		{"with one worker each works on one at a time", 2, 1, "a a b b -a", "a b a"},
		{"who holds fewer goes first", 3, 3, "a a a a a b -a -a", "a a a b a"},
		{"among equals who came first", 2, 2, "a b c d -b -a", "a b c d"},
		{"a place that was given back serves who may have it", 3, 2, "a a a b b -b", "a a b b"},
	} {
		t.Run(c.why, func(t *testing.T) {
			line := share.New(c.places, c.each)
			type asked struct {
				tenant string
				wait   *share.Wait
			}
			var waiting []asked
			var got []string
			for _, step := range strings.Fields(c.play) {
				if tenant, leaves := strings.CutPrefix(step, "-"); leaves {
					line.Leave(tenant)
				} else {
					waiting = append(waiting, asked{step, line.Join(step)})
				}
				waiting = slices.DeleteFunc(waiting, func(a asked) bool {
					select {
					case <-a.wait.Granted():
						got = append(got, a.tenant)
						return true
					default:
						return false
					}
				})
			}
			if want := strings.TrimSpace(c.want); strings.Join(got, " ") != want {
				t.Errorf("granted %v, want %s", got, want)
			}
		})
	}
}

// Who does not wait any more is passed over, and one that has its place keeps it.
func TestWithdraw(t *testing.T) {
	line := share.New(1, 1)
	first, second, third := line.Join("a"), line.Join("b"), line.Join("c")
	if line.Withdraw(first) {
		t.Error("a place that was granted was withdrawn")
	}
	if !line.Withdraw(second) || line.Try("d") {
		t.Error("more places than one")
	}
	line.Leave("a")
	<-third.Granted()
	line.Leave("c")
	if !line.Try("d") {
		t.Error("a free place is not to be had")
	}
}

func TestEnterEndsWithItsContext(t *testing.T) {
	l := share.New(1, 1)
	if err := l.Enter(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if err := l.Enter(ctx, "b"); !errors.Is(err, why) || l.Waiting() != 0 {
		t.Errorf("got %v, and %d wait", err, l.Waiting())
	}
	l.Leave("a")
	if l.Held() != 0 {
		t.Error("a place is lost")
	}
}
