package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sluice-gitops/sluice/test/harness"
)

// limit bounds everything after the images are built.
const limit = 10 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "\nThe Compose test failed: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	start := time.Now()
	root, err := harness.Root()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "sluice-compose-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	d := &docker{root: root, folder: folder}
	if err := d.install(ctx); err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.images(ctx); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := newStack(d)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.complain()
		}
		say("docker-compose down -v")
		err = errors.Join(err, s.down())
		if err == nil {
			fmt.Printf("\nThe Compose stack passed in %s.\n", time.Since(start).Round(time.Second))
		}
	}()
	return s.prove(bounded)
}

func say(format string, args ...any) { fmt.Printf("compose: "+format+"\n", args...) }
