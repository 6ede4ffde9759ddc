package share_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sluice-gitops/sluice/internal/share"
)

// TestRoom plays who asks for how much and who leaves: a5 asks, -a5 gives back, !a5 asks no more.
func TestRoom(t *testing.T) {
	for _, c := range []struct {
		why        string
		size, each int
		play, want string // want: who was granted, in that order
	}{
		{"what fits is had at once", 10, 6, "a2 a3 b5", "a2 a3 b5"},
		{"one tenant gets its share and no more", 10, 6, "a4 a4 b6", "a4 b6"},
		{"all of a share always fits", 10, 6, "a6 a6 -a6", "a6 a6"},
		{"of a tenant who came first goes first", 10, 6, "a4 a6 a1 -a4 -a6", "a4 a6 a1"},
		{"who holds less goes first", 10, 6, "a3 b6 a2 c2 -b1 -b1", "a3 b6 c2"},
		{"among equals who came first", 6, 6, "a6 b6 c6 -a6 -b6", "a6 b6 c6"},
		{"small ones do not keep a large one waiting for ever", 10, 6, "a6 b6 c5 -a6 -b6", "a6 b6 c5"},
		{"who waits no more holds nobody up", 10, 6, "a6 b6 c3 !b6", "a6 c3"},
		{"a part is given back", 10, 6, "a6 b6 -a3", "a6 b6"},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playRoom(t, c.size, c.each, c.play, c.want) })
		})
	}
}

func playRoom(t *testing.T, size, each int, play, want string) {
	room := share.NewRoom(size, each)
	all, end := context.WithCancel(t.Context())
	defer end()
	withdraw := map[string]context.CancelFunc{}
	got := make(chan string, 100)
	for _, step := range strings.Fields(play) {
		who := strings.TrimLeft(step, "-!")
		amount := 0
		if _, err := fmt.Sscan(who[1:], &amount); err != nil {
			t.Fatal(err)
		}
		switch step[0] {
		case '-':
			room.Leave(who[:1], amount)
		case '!':
			withdraw[who]()
		default:
			var ctx context.Context
			ctx, withdraw[who] = context.WithCancel(all)
			go func() {
				if room.Enter(ctx, who[:1], amount) == nil {
					got <- who
				}
			}()
		}
		synctest.Wait()
	}
	var granted []string
	for len(got) > 0 {
		granted = append(granted, <-got)
	}
	if !slices.Equal(granted, strings.Fields(want)) {
		t.Errorf("granted %v, want %s", granted, want)
	}
}

// An amount that was granted while its wait ended is given back.
func TestRoomEndsWithItsContext(t *testing.T) {
	room := share.NewRoom(1, 1)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if err := room.Enter(ended, "a", 1); err == nil {
			room.Leave("a", 1)
		}
	}
	if err := room.Enter(t.Context(), "b", 1); err != nil {
		t.Error(err)
	}
}
