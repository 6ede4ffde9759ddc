// Command bench measures Sluice against a bare client that server-side applies the
// same objects in parallel, in the same run on the same control plane. It prints a
// table, and with -write keeps it in docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-gitops/sluice/test/harness"
)

func main() {
	n := flag.Int("n", 100, "number of Kustomizations, five objects each")
	rounds := flag.Int("rounds", 50, "rounds of push and of drift")
	quiet := flag.Duration("idle", 2*time.Minute, "how long to watch it do nothing")
	limit := flag.Duration("limit", 30*time.Minute, "bound on the whole run")
	growth := flag.Bool("memory", false, "measure memory by the number of objects, up to 10,000, and nothing else")
	fairness := flag.Bool("fairness", false, "measure pushes of a tenant beside another's changes, and nothing else")
	sources := flag.Int("sources", 0, "measure so many sources in which nothing changes, and nothing else")
	releases := flag.Int("helm", 0, "measure so many HelmReleases of one chart, and nothing else")
	write := flag.Bool("write", false, "keep the table in docs")
	profiles := flag.String("profile", "", "folder that gets processor profiles of install, change of all and change of one, or of install and upgrade of Helm releases")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	measure := func() error { return run(ctx, *n, *rounds, *quiet, *write, *profiles) }
	if *growth {
		measure = func() error { return runGrowth(ctx, *write) }
	}
	if *fairness {
		measure = func() error { return runFairness(ctx, *n, *rounds, *write) }
	}
	if *sources > 0 {
		measure = func() error { return runSources(ctx, *sources, *quiet, *write) }
	}
	if *releases > 0 {
		measure = func() error { return runHelm(ctx, *releases, *rounds, *write, *profiles) }
	}
	if err := measure(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// results are what one run measured.
type results struct {
	n, rounds         int
	install, all, one pair
	// statuses is the time the bare client needs for one status write of every Kustomization.
	statuses    time.Duration
	oneAll      time.Duration
	oneRequests map[string]int
	push, drift latencies
	neighbour   *neighbour
	idle        idle
	peak        int64 // bytes, see peakMemory
	restart     restart
}

func run(ctx context.Context, n, rounds int, quiet time.Duration, write bool, profiles string) (err error) {
	if n < 1 || rounds < 1 {
		return errors.New("n and rounds must be at least 1")
	}
	p := newProgress(os.Stderr)
	w, err := setUp(ctx, n, p)
	if w != nil {
		defer func() { err = errors.Join(err, w.Close()) }()
	}
	if err != nil {
		return err
	}
	w.profiles = profiles
	r := results{n: n, rounds: rounds}
	if err := w.measure(ctx, &r, quiet, p); err != nil {
		return errors.Join(err, fmt.Errorf("the end of sluice's log:\n%s", w.Sluice.Tail()))
	}
	text := r.markdown()
	fmt.Print(text)
	return keep(write, "benchmarks.md", preface+text+epilogue)
}

// keep writes a page of docs when it is wanted.
func keep(wanted bool, page, text string) error {
	if !wanted {
		return nil
	}
	root, err := harness.Root()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "docs", page), []byte(text), 0o644)
}

// keepAbove writes the part of a page above a heading, and leaves what follows it as it is.
func keepAbove(wanted bool, page, heading, text string) error {
	if !wanted {
		return nil
	}
	root, err := harness.Root()
	if err != nil {
		return err
	}
	before, err := os.ReadFile(filepath.Join(root, "docs", page))
	if err != nil {
		return err
	}
	if _, rest, found := strings.Cut(string(before), heading); found {
		text += "\n" + heading + rest
	}
	return keep(wanted, page, text)
}

// runGrowth prints the memory of one process by the number of objects it manages.
func runGrowth(ctx context.Context, write bool) (err error) {
	p := newProgress(os.Stderr)
	w, err := setUp(ctx, 1, p)
	if w != nil {
		defer func() { err = errors.Join(err, w.Close()) }()
	}
	if err != nil {
		return err
	}
	all, err := w.grow(ctx, p)
	if err != nil {
		return errors.Join(err, fmt.Errorf("the end of sluice's log:\n%s", w.Sluice.Tail()))
	}
	text := growthTable(all)
	fmt.Print(text)
	return keep(write, "memory.md", growthPreface+text)
}

func (w *world) measure(ctx context.Context, r *results, quiet time.Duration, p *progress) (err error) {
	peak := sync.OnceValue(peakMemory(w.Sluice.PID))
	defer peak()
	p.say("install %d Kustomizations of %d objects", w.n, 5*w.n)
	if r.install, err = w.install(ctx); err != nil {
		return err
	}
	p.say("bare %.2fs, sluice %.2fs; one commit changes all", r.install.bare.Seconds(), r.install.sluice.Seconds())
	if r.all, err = w.changeAll(ctx); err != nil {
		return err
	}
	if r.statuses, err = w.writeStatuses(ctx); err != nil {
		return err
	}
	p.say("bare %.2fs, sluice %.2fs; one commit changes one", r.all.bare.Seconds(), r.all.sluice.Seconds())
	if err := w.changeOne(ctx, r); err != nil {
		return err
	}
	p.say("live after %s, all after %s; %d pushes", r.one.sluice, r.oneAll, r.rounds)
	if r.push, err = w.pushes(ctx, r.rounds); err != nil {
		return err
	}
	p.say("median %s, p99 %s; %d hand edits", r.push.quantile(0.5), r.push.quantile(0.99), r.rounds)
	if r.drift, err = w.drifts(ctx, r.rounds); err != nil {
		return err
	}
	p.say("median %s, p99 %s; idle for %s", r.drift.quantile(0.5), r.drift.quantile(0.99), quiet)
	if _, err := w.settled(ctx, time.Now()); err != nil {
		return err
	}
	if r.idle, err = w.rest(ctx, quiet); err != nil {
		return err
	}
	p.say("%d MiB; restart", r.idle.memory>>20)
	if r.restart, err = w.restarted(ctx); err != nil {
		return err
	}
	p.say("quiet after %s; %d pushes of another tenant, alone and while %d change", r.restart.quiet, r.rounds, r.n)
	// Last, because the Events of so many changes are written for minutes afterwards.
	if r.neighbour, err = w.neighbour(ctx); err == nil {
		err = r.neighbour.pushAlone(ctx, w, min(r.rounds, 20))
	}
	if err == nil {
		err = r.neighbour.pushBeside(ctx, w, min(r.rounds, 20), app)
	}
	if err != nil {
		return err
	}
	r.peak = peak()
	return nil
}
