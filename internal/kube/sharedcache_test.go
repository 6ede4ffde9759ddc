package kube

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// endless is a cache that runs until it is told to stop, or fails.
type endless struct {
	cache.Cache
	started, ended int
	fails          chan error
}

func (e *endless) Start(ctx context.Context) error {
	e.started++
	defer func() { e.ended++ }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.fails:
		return err
	}
}

func TestSharedCache(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		why  string
		play func(e *endless, stop [2]context.CancelFunc)
		// want is what each manager's Start returned, nil while it runs.
		want  [2]error
		ended int
	}{
		{"one cache runs for two managers", func(*endless, [2]context.CancelFunc) {}, [2]error{}, 0},
		{"it goes on when the first manager ends", func(_ *endless, stop [2]context.CancelFunc) { stop[0]() }, [2]error{errDone}, 0},
		{"and when the second ends", func(_ *endless, stop [2]context.CancelFunc) { stop[1]() }, [2]error{1: errDone}, 0},
		{"it ends with the last", func(_ *endless, stop [2]context.CancelFunc) { stop[1](); stop[0]() }, [2]error{errDone, errDone}, 1},
		{"its failure is both's", func(e *endless, _ [2]context.CancelFunc) { e.fails <- broken }, [2]error{broken, broken}, 1},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &endless{fails: make(chan error)}
				var shared SharedCache
				var stop [2]context.CancelFunc
				var got [2]error
				for i := range 2 {
					one, err := shared.share(func() (cache.Cache, error) { return e, nil })
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithCancel(t.Context())
					stop[i] = cancel
					go func() {
						if got[i] = one.Start(ctx); got[i] == nil {
							got[i] = errDone
						}
					}()
					synctest.Wait()
				}
				c.play(e, stop)
				synctest.Wait()
				if got != c.want || e.started != 1 || e.ended != c.ended {
					t.Errorf("managers ended with %v, the cache was started %d and ended %d times", got, e.started, e.ended)
				}
				stop[0]()
				stop[1]()
				synctest.Wait()
			})
		})
	}
}

// errDone stands for a Start that returned nil.
var errDone = errors.New("done")
