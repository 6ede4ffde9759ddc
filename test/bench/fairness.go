package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/test/harness"
)

const fairnessPreface = `# A push beside another tenant's changes

How long a tenant's single push takes alone, before another tenant is there, and while commit after commit changes every
application of that other tenant, whose checks share a lane with its own: medians, from one run. The parts come from the events of each push and from the log of the
workers. This table is the output of ` + "`make bench FAIRNESS=1 N=10000 WRITE=1`" + `.

`

const fairnessEpilogue = `
- **waiting for a worker** is all that Sluice's queues cost: from each stage's event to the worker that takes the check, three times.
- **webhook, fetch, build, apply** are the times in which a worker is at it. Fetching includes the Git server, which starts processes
  on the same machine for every request; applying includes the API server.
- **for comparison** are things measured just before each push that have nothing to do with Sluice: the bare client applies an object, Git
  lists the refs of the repository, and a fixed piece of computing. They show what the processors, shared with the API
  server, etcd, the Git server and the other tenant's changes, cost anybody.

What Sluice gives is order, which is tested by counts, not by time: a check of a namespace that has none in work is among the next few
whatever waits in its lane, it finds a worker however long the checks of others take, and its build is the next one
(` + "`internal/bus/bustest`, `internal/share`, `services/builder/internal/sandbox`" + `). And precedence: while a quiet tenant's check is in work the
busy ones pause at their next step, of which they have only a few under way at any time ([ADR 15](adr/0015-precedence.md)).

The aim is a ratio of at most 2. It was 3.5 beside 10,000 Kustomizations while busy tenants had as many requests under way as they liked: those that
the API server has cannot pause, and a push waited for sixty of them. What has nothing to do with Sluice's queues, a bare client's apply, a
listing of refs, plain computing, takes more than twice as long beside the changes; nobody pauses for that.
`

// runFairness prints where a push's time goes, alone and beside another tenant's changes.
func runFairness(ctx context.Context, n, rounds int, write bool) (err error) {
	p := newProgress(os.Stderr)
	w, err := setUpWith(ctx, n, treeOf(changing, n, "1"), p, "--log-level=debug")
	if w != nil {
		defer func() { err = errors.Join(err, w.Close()) }()
	}
	if err != nil {
		return err
	}
	p.say("%d pushes of another tenant, alone", rounds)
	other, err := w.neighbour(ctx)
	if err != nil {
		return err
	}
	if err := other.pushAlone(ctx, w, rounds); err != nil {
		return err
	}
	p.say("install %d Kustomizations", n)
	if err := errors.Join(w.createAll(ctx), w.allReady(ctx)); err != nil {
		return err
	}
	p.say("%d pushes beside", rounds)
	if err := other.pushBeside(ctx, w, rounds, changing); err != nil {
		return err
	}
	if err := w.trace(ctx, other); err != nil {
		return err
	}
	text := fmt.Sprintf("%s, %d processors shared by everything, %s, N=%d Kustomizations of the other tenant, one object each, %d rounds.\n\n%s",
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), runtime.Version(), n, rounds, other.markdown())
	fmt.Print(text)
	return keep(write, "fairness.md", fairnessPreface+text+fairnessEpilogue)
}

// trace fills in when the steps of the pushes began and ended, and leaves out those
// of which that is not known.
func (w *world) trace(ctx context.Context, n *neighbour) error {
	entries, err := w.Log.Read(ctx)
	if err != nil {
		return err
	}
	log, err := os.ReadFile(w.Sluice.Log())
	if err != nil {
		return err
	}
	checks := handled(log, n.tenant.Namespace)
	for _, all := range []*pushes{&n.alone, &n.beside} {
		var traced pushes
		for _, one := range *all {
			one.follow(entries, checks, n.tenant.Namespace)
			if one.traced() {
				traced = append(traced, one)
			}
		}
		if 2*len(traced) < len(*all) {
			return fmt.Errorf("only %d of %d pushes could be followed", len(traced), len(*all))
		}
		*all = traced
	}
	return nil
}

// follow finds the first event of each step, and the first check of the stage after it.
func (p *onePush) follow(entries []harness.Entry, checks []handledCheck, namespace string) {
	from := p.start
	for i := range steps {
		for _, e := range entries {
			at := e.Event.Time()
			if e.Err == nil && e.Event.Type() == steps[i] && strings.Contains(e.Subject, "."+namespace+".") && !at.Before(from) && at.Before(p.live) {
				p.done[i], from = at, at
				break
			}
		}
		for _, c := range checks {
			if c.Stage == string(stages[i]) && !c.began().Before(from) && c.began().Before(p.live) {
				p.began[i] = c.began()
				break
			}
		}
	}
}

// handledCheck is a line of the log about a check.
type handledCheck struct {
	Time         time.Time `json:"ts"`
	Message      string    `json:"msg"`
	Stage        string    `json:"stage"`
	Namespace    string    `json:"namespace"`
	Milliseconds int64     `json:"duration_ms"`
}

func (c handledCheck) began() time.Time {
	return c.Time.Add(-time.Duration(c.Milliseconds) * time.Millisecond)
}

func handled(log []byte, namespace string) (checks []handledCheck) {
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c handledCheck
		// Other lines have other fields.
		if json.Unmarshal(lines.Bytes(), &c) == nil && c.Message == "check handled" && c.Namespace == namespace {
			checks = append(checks, c)
		}
	}
	return checks
}

// markdown renders the medians of each part.
func (n *neighbour) markdown() string {
	var b strings.Builder
	b.WriteString("| median | alone | beside | ratio |\n|---|---|---|---|\n")
	for _, row := range []struct {
		name string
		of   func(onePush) time.Duration
	}{
		{"push to live", onePush.took},
		{"of it: waiting for a worker, three stages", onePush.waited},
		{"of it: webhook", onePush.hook},
		{"of it: fetch", onePush.fetch},
		{"of it: build", onePush.build},
		{"of it: apply until live", onePush.apply},
		{"for comparison: the bare client applies one object", onePush.bareTook},
		{"for comparison: git ls-remote", onePush.gitTook},
		{"for comparison: fixed computing", onePush.computeTook},
	} {
		alone, beside := n.alone.median(row.of), n.beside.median(row.of)
		fmt.Fprintf(&b, "| %s | %.1f ms | %.1f ms | %.1fx |\n", row.name, inMillis(alone), inMillis(beside), beside.Seconds()/alone.Seconds())
	}
	return b.String()
}

func inMillis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
