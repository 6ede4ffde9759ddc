package share_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/share"
)

// However many of one tenant wait, another one comes after one of them.
func TestTurns(t *testing.T) {
	turns := share.NewTurns()
	if err := turns.Enter(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	for n, tenant := range []string{"a", "a", "b"} {
		go func() {
			if err := turns.Enter(t.Context(), tenant); err != nil {
				t.Error(err)
			}
			got <- tenant
			turns.Leave(tenant)
		}()
		tick := time.NewTicker(time.Millisecond)
		for turns.Waiting() <= n {
			<-tick.C
		}
		tick.Stop()
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	for _, tenant := range []string{"a", "c"} {
		if err := turns.Enter(ctx, tenant); !errors.Is(err, enough) {
			t.Errorf("%s, whose time has ended: %v", tenant, err)
		}
	}
	turns.Leave("a")
	if first, second, third := <-got, <-got, <-got; first+second+third != "baa" {
		t.Errorf("%s, %s and %s came, in that order, want b before the others of a", first, second, third)
	}
	if turns.Waiting() != 0 {
		t.Errorf("%d wait", turns.Waiting())
	}
}
