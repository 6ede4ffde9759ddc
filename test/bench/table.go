package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
)

const preface = `# Benchmarks

` + "`make bench`" + ` (` + "`N=300`" + ` sets the number of Kustomizations) starts a control plane, measures the
time a bare client needs to server-side apply the same objects over 32 connections, and the time Sluice needs from Git, in one
run on one machine. Both sides begin when nobody has changed anything in the cluster for five seconds. Machines differ and are noisy: read the ratios. This table is the output of ` + "`make bench WRITE=1`" + `.

`

const epilogue = `
Aims: install within 2x; one commit changes all within 4x; one: live within a second, all report within 15; at most 600 MiB; quiet 30 s after a restart; another
tenant's push within 2x. The install is near its aim: beside five applies the API server has a dry run, the creation, finalizer and status of a
Kustomization, and its Events to serve, which are five requests more, and the processors are busy all the time. The slower the API
server is for the same, the better the ratio: it was 1.7x to 2.4x on four machines. The 4x is out of reach against patches alone: the bare
client's patches and one status write for each object take about three times as long as its patches. It is held against the row below, which has both.

What the rows mean:

- **install**: from creating the source and all Kustomizations (which the bare client does not have to do) to all of them Ready.
- **one commit changes all**: one ConfigMap of every application, from the hook to all Ready at the new revision; the
  bare client patches just those ConfigMaps. The row below adds the time the bare client needs to write the status of as many
  suspended Kustomizations, once each: a GitOps engine cannot do with less.
- **one commit changes one**: until the object is live; *all report* is until every other Kustomization shows the new
  revision, which takes one status write each.
- **processor**: processor time of the API server with etcd, of the services (one process with embedded NATS and S3) and of the
  processes they build in, from the start of that row's measurement to its end. The bare client's own is not counted.
- **requests**: of all services to the API server, without watches, by verb and resource; a dry run counts like an apply.
- **push to live**: commit in the repository, signed webhook, object changed in the cluster; one push at a time.
- **hand edit to reverted**: a ConfigMap edited by another field manager until it has its value of Git again.
- **idle**: requests of all services to the API server, without watches; the processor time and memory are those of the whole process,
  embedded NATS and S3 and the build processes included.
- **restart**: the process is stopped, an object edited by hand, and the process started on its data: from the start until the edit is
  reverted, and until the last request to the API server before five seconds without one.
- **push of another tenant**: the same for a tenant with one Kustomization in a namespace of its own, first alone, then while commit
  after commit changes every application of the first; the ratio is that of the medians. The processors are then busy with the
  first tenant's changes, which costs the second more than waiting its turn does: [fairness.md](fairness.md) takes it apart.
- **most memory** is that of the whole run, looked at every second.
`

// counted renders requests for a cell.
func counted(requests map[string]int) string {
	return fmt.Sprintf("%d (%s)", total(requests), listing(requests))
}

// rowsOf returns what writes rows of a table to b.
func rowsOf(b *strings.Builder) func(cells ...any) {
	return func(cells ...any) {
		b.WriteString("|")
		for _, cell := range cells {
			fmt.Fprintf(b, " %v |", cell)
		}
		b.WriteString("\n")
	}
}

// markdown renders the results as a table with the conditions they were measured under.
func (r results) markdown() string {
	var b strings.Builder
	row := rowsOf(&b)
	fmt.Fprintf(&b, "%s, %d processors shared by everything, %s, N=%d Kustomizations of one repository, five objects each.\n\n",
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), runtime.Version(), r.n)
	row("", "bare client", "Sluice", "ratio")
	b.WriteString("|---|---|---|---|\n")
	row("install", seconds(r.install.bare), seconds(r.install.sluice), ratio(r.install))
	row("install: processor", r.install.bareCPU, r.install.sluiceCPU, "")
	row("install: requests", 5*r.n, counted(r.install.requests), "")
	row("one commit changes all", seconds(r.all.bare), seconds(r.all.sluice), ratio(r.all))
	row("... against the bare client that writes each status too", seconds(r.all.bare+r.statuses), seconds(r.all.sluice),
		ratio(pair{bare: r.all.bare + r.statuses, sluice: r.all.sluice}))
	row("one commit changes all: processor", r.all.bareCPU, r.all.sluiceCPU, "")
	row("one commit changes all: requests", r.n, counted(r.all.requests), "")
	row("one commit changes one: live", seconds(r.one.bare), seconds(r.one.sluice), ratio(r.one))
	row("one commit changes one: all report", "", seconds(r.oneAll), "")
	row("one commit changes one: processor", r.one.bareCPU, r.one.sluiceCPU, "")
	row("one commit changes one: requests", "1", counted(r.oneRequests), "")
	row(fmt.Sprintf("push to live, %d rounds: median, p99", r.rounds), "", millis(r.push.quantile(0.5))+", "+millis(r.push.quantile(0.99)), "")
	row(fmt.Sprintf("hand edit to reverted, %d rounds: median, p99", r.rounds), "", millis(r.drift.quantile(0.5))+", "+millis(r.drift.quantile(0.99)), "")
	row(fmt.Sprintf("idle for %s: requests", r.idle.span.Round(time.Second)), "", fmt.Sprintf("%d (%s)", total(r.idle.requests), listing(r.idle.requests)), "")
	row("idle: processor, memory", "", fmt.Sprintf("%.1f millicores, %d MiB",
		1000*r.idle.cpu.Seconds()/r.idle.span.Seconds(), r.idle.memory>>20), "")
	row("restart: edit made meanwhile reverted, quiet", "", seconds(r.restart.reverted)+", "+seconds(r.restart.quiet), "")
	row("restart: requests", "", fmt.Sprintf("%d (%s)", total(r.restart.requests), listing(r.restart.requests)), "")
	row("restart: processor", "", fmt.Sprintf("services %.1f s", r.restart.cpu.services.Seconds()), "")
	row(fmt.Sprintf("push of another tenant, %d rounds: median alone, median while all of the first change", len(r.neighbour.alone)), "",
		millis(r.neighbour.alone.median(onePush.took))+", "+millis(r.neighbour.beside.median(onePush.took)), fmt.Sprintf("%.1fx", r.neighbour.ratio()))
	row("most memory", "", fmt.Sprintf("%d MiB", r.peak>>20), "")
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
func millis(d time.Duration) string  { return fmt.Sprintf("%d ms", d.Milliseconds()) }
func ratio(p pair) string            { return fmt.Sprintf("%.1fx", p.ratio()) }

// progress says on a terminal what is being measured, with the time since the start.
type progress struct {
	out   io.Writer
	start time.Time
}

func newProgress(out io.Writer) *progress { return &progress{out: out, start: time.Now()} }

func (p *progress) say(format string, args ...any) {
	// losing progress is no reason to lose a measurement
	_, _ = fmt.Fprintf(p.out, "[%5.1fs] %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// Write lets tools report progress line by line.
func (p *progress) Write(text []byte) (int, error) {
	for _, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		p.say("%s", line)
	}
	return len(text), nil
}
