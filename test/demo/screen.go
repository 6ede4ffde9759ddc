package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// screen prints the demo's progress: numbered steps, facts and measured times.
type screen struct {
	out   io.Writer
	start time.Time
	step  int
}

func newScreen(out io.Writer) *screen { return &screen{out: out, start: time.Now()} }

func (s *screen) print(format string, args ...any) {
	// A closed terminal must not fail the demo; its exit code tells the result.
	_, _ = fmt.Fprintf(s.out, format+"\n", args...)
}

// title begins a step.
func (s *screen) title(format string, args ...any) {
	s.step++
	s.print("\n[%5.1fs] %d. %s", time.Since(s.start).Seconds(), s.step, fmt.Sprintf(format, args...))
}

// fact reports something that was seen.
func (s *screen) fact(format string, args ...any) {
	s.print("         ✓ %s", fmt.Sprintf(format, args...))
}

// note explains.
func (s *screen) note(format string, args ...any) {
	for _, line := range strings.Split(fmt.Sprintf(format, args...), "\n") {
		s.print("           %s", line)
	}
}

// Write lets tools that report progress line by line write into the demo's output.
func (s *screen) Write(p []byte) (int, error) {
	for _, line := range strings.Split(strings.TrimRight(string(p), "\n"), "\n") {
		s.print("           %s", line)
	}
	return len(p), nil
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}
