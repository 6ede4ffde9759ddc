package git

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// answers makes listings that end when the test says so.
type answers struct {
	begun int
	next  chan answer
}

type answer struct {
	refs *packp.AdvRefs
	err  error
}

func (a *answers) list() (*packp.AdvRefs, error) {
	a.begun++
	got := <-a.next
	return got.refs, got.err
}

// outcome is what one who asked was told.
type outcome struct {
	refs *packp.AdvRefs
	own  bool
	err  error
}

func TestListingsAreShared(t *testing.T) {
	key, failed := sha256.Sum256([]byte("a repository")), errors.New("no route")
	old, fresh := packp.NewAdvRefs(), packp.NewAdvRefs()
	for name, test := range map[string]struct {
		// late is how many ask while the first listing is under way; quit of them
		// give up, from the first on, once the second has begun, and lost tells the
		// first to give up meanwhile.
		late, quit int
		lost       bool
		first      answer
		second     answer
		listings   int
		want       []outcome // of the late ones that stayed
	}{
		"one alone": {first: answer{refs: old}, listings: 1},
		"who comes during a listing waits for the next one": {late: 3, first: answer{refs: old}, second: answer{refs: fresh}, listings: 2, want: []outcome{{fresh, true, nil}, {fresh, false, nil}, {fresh, false, nil}}},
		"a failure is everybody's":                          {late: 2, first: answer{refs: old}, second: answer{err: failed}, listings: 2, want: []outcome{{nil, true, failed}, {nil, false, failed}}},
		"who gives up harms nobody":                         {late: 3, quit: 1, first: answer{refs: old}, second: answer{refs: fresh}, listings: 3, want: []outcome{{fresh, true, nil}, {fresh, false, nil}}},
		"all give up":                                       {late: 2, quit: 2, first: answer{refs: old}, second: answer{refs: fresh}, listings: 3},
		"a failed listing whose caller is gone":             {late: 1, lost: true, first: answer{err: failed}, second: answer{refs: fresh}, listings: 2, want: []outcome{{fresh, true, nil}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := together{lines: map[[sha256.Size]byte]*line{}}
				source := &answers{next: make(chan answer)}
				ask := func(ctx context.Context) chan outcome {
					told := make(chan outcome, 1)
					go func() {
						refs, own, err := all.ask(ctx, key, func() (*packp.AdvRefs, error) {
							refs, err := source.list()
							if ctx.Err() != nil {
								return nil, context.Cause(ctx)
							}
							return refs, err
						})
						told <- outcome{refs, own, err}
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
					t.Fatalf("%d listings began at once", source.begun)
				}
				if test.lost {
					give()
				}
				source.next <- test.first
				synctest.Wait()
				if got := <-first; got.refs != test.first.refs && !test.lost {
					t.Errorf("the first got %v", got)
				}
				for i := range test.quit {
					leave[i]()
					synctest.Wait()
					if i == 0 { // it was making the listing
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
				if source.begun != test.listings || len(all.lines) != 0 {
					t.Errorf("%d listings, want %d; %d lines are left", source.begun, test.listings, len(all.lines))
				}
				give()
				for _, l := range leave {
					l()
				}
			})
		})
	}
}
