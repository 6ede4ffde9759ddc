// Command demo shows Sluice at work from an empty machine: it starts a Kubernetes
// control plane and sluice, serves a sample Git repository, and walks through
// install, push, drift, prune and a broken manifest, with measured times.
//
// Environment: KEEP=1 leaves everything running to play with; KUBECONFIG uses an
// existing cluster instead of the embedded control plane.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// limit bounds the demo after everything is built.
const limit = 10 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := newScreen(os.Stdout)
	keep, err := keepWanted(os.Getenv("KEEP"))
	if err == nil {
		err = run(ctx, s, settings{kubeconfig: os.Getenv("KUBECONFIG"), keep: keep})
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %v\n", err)
		stop()
		os.Exit(1)
	}
}

// keepWanted reads the value of KEEP; nothing means no.
func keepWanted(text string) (bool, error) {
	if text == "" {
		return false, nil
	}
	keep, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("KEEP=%s: want 1 or 0", text)
	}
	return keep, nil
}

type settings struct {
	kubeconfig string
	keep       bool
}

func run(ctx context.Context, s *screen, set settings) (err error) {
	s.print("Sluice: a push reaches a live cluster through four services.")
	w, err := setUp(ctx, s, set)
	if w != nil {
		defer func() {
			s.title("Clean up")
			err = errors.Join(err, w.Close())
			if err == nil {
				s.fact("nothing is left running")
				s.print("\nThe demo passed in %s.", round(time.Since(s.start)))
			}
		}()
	}
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, step := range []func(context.Context, *screen) error{
		w.install, w.push, w.drift, w.prune, w.broken, w.timeline,
	} {
		if err := step(bounded, s); err != nil {
			return errors.Join(err, fmt.Errorf("the end of sluice's log:\n%s", w.Sluice.Tail()))
		}
	}
	if set.keep {
		w.invite(s)
		<-ctx.Done()
	}
	return nil
}
