// Command run tests modules of the workspace with one go test, those named first begin
// first. It shows each package as it ends and the output of what failed, and closes with what the
// failed tests said, without their logs, and the counts.
//
//	go run ./test/run -p 2 -timeout 30m test services/applier events
//
// With TEST_SUMMARY set it writes the counts, "<passed> <failed>", to that file.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	side := flag.Int("p", 2, "packages tested side by side")
	limit := flag.Duration("timeout", 30*time.Minute, "limit of one package")
	race := flag.Bool("race", false, "look for data races")
	filter := flag.String("run", "", "only tests whose names match")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	args := []string{"test", "-json", "-p", strconv.Itoa(*side), "-timeout", limit.String()}
	if *race {
		args = append(args, "-race")
	}
	if *filter != "" {
		args = append(args, "-run", *filter)
	}
	t := &tally{out: os.Stdout, started: time.Now(), output: map[string][]string{}}
	for _, module := range flag.Args() {
		args = append(args, "./"+module+"/...")
	}
	if err := t.run(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		t.broken++
	}
	if err := t.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// record is one line of go test -json.
type record struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// tally counts tests and keeps the output of those that run.
type tally struct {
	out                             io.Writer
	started                         time.Time
	passed, failed, skipped, broken int
	output                          map[string][]string
	said                            []string // by what failed, but for its logs
}

// run tests. The error says that go test could not run or that a package does not
// build; failed tests are counted instead.
func (t *tally) run(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := t.read(lines)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && t.failed > 0 {
		err = nil // already counted
	}
	return errors.Join(readErr, err)
}

func (t *tally) read(lines io.Reader) error {
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var r record
		if err := json.Unmarshal(scanner.Bytes(), &r); err != nil {
			fmt.Fprintln(t.out, scanner.Text())
			continue
		}
		t.note(r)
	}
	return scanner.Err()
}

func (t *tally) note(r record) {
	id := r.Package + r.ImportPath + " " + r.Test
	switch r.Action {
	case "output", "build-output":
		t.output[id] = append(t.output[id], r.Output)
		return
	case "pass", "skip", "fail", "build-fail":
	default:
		return
	}
	if r.Action == "fail" || r.Action == "build-fail" {
		fmt.Fprint(t.out, strings.Join(t.output[id], ""))
		t.said = append(t.said, spoken(t.output[id])...)
	}
	if r.Test != "" {
		t.count(r.Action)
	} else if r.Action != "build-fail" && !nothing(t.output[id]) {
		fmt.Fprintf(t.out, "[%s] %-4s %s (%.1fs)\n", clock(time.Since(t.started)), r.Action, r.Package, r.Elapsed)
	}
	delete(t.output, id)
}

// spoken returns the output without what the code under test logged and what go test tells of its
// progress.
func spoken(output []string) []string {
	return slices.DeleteFunc(slices.Clone(output), func(line string) bool {
		line = strings.TrimSpace(line)
		return line == "" || line == "FAIL" || strings.HasPrefix(line, "time=") || strings.HasPrefix(line, "=== ")
	})
}

func (t *tally) count(action string) {
	switch action {
	case "pass":
		t.passed++
	case "fail":
		t.failed++
	case "skip":
		t.skipped++
	}
}

// nothing says that a package has no tests.
func nothing(output []string) bool {
	return strings.Contains(strings.Join(output, ""), "[no test files]")
}

func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

func (t *tally) close() error {
	failed := t.failed + t.broken
	if len(t.said) > 0 {
		fmt.Fprintf(t.out, "\nWhat failed:\n%s", strings.Join(t.said, ""))
	}
	fmt.Fprintf(t.out, "\nTested in %s.\n%d passed, %d failed, %d skipped\n", time.Since(t.started).Round(time.Second), t.passed, failed, t.skipped)
	if file := os.Getenv("TEST_SUMMARY"); file != "" {
		if err := os.WriteFile(file, fmt.Appendf(nil, "%d %d\n", t.passed, failed), 0o600); err != nil {
			return fmt.Errorf("write summary: %w", err)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d tests or packages failed", failed)
	}
	if t.passed == 0 {
		return errors.New("no test ran")
	}
	return nil
}
