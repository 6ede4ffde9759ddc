package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/test/controlplane"
)

// idle is what sluice does while nothing happens.
type idle struct {
	span time.Duration
	// requests by verb and resource, watches left out.
	requests map[string]int
	cpu      time.Duration
	memory   int64 // resident bytes, sandbox processes included
}

// rest measures a quiet time. Watches that end and begin again are not counted as requests.
func (w *world) rest(ctx context.Context, span time.Duration) (idle, error) {
	before, err := w.spent()
	if err != nil {
		return idle{}, err
	}
	from := time.Now()
	select {
	case <-ctx.Done():
		return idle{}, ctx.Err()
	case <-time.After(span):
	}
	to := time.Now()
	after, err := w.spent()
	if err != nil {
		return idle{}, err
	}
	memory, err := residentMemory(w.Sluice.PID())
	if err != nil {
		return idle{}, err
	}
	requests, err := w.requests(from, to)
	used := after.minus(before)
	return idle{span: to.Sub(from), requests: requests, cpu: used.services + used.builds, memory: memory}, err
}

// requests counts what sluice asked the API server, by verb and resource.
func (w *world) requests(from, to time.Time) (map[string]int, error) {
	return w.count(from, to, func(r controlplane.Request) bool {
		return strings.HasPrefix(r.UserAgent, "sluice-") && r.Verb != "watch"
	})
}

// changes counts what anybody changed, by verb and resource. Leases are renewed all the time.
func (w *world) changes(from, to time.Time) (map[string]int, error) {
	return w.count(from, to, func(r controlplane.Request) bool {
		return !slices.Contains([]string{"get", "list", "watch"}, r.Verb) && r.Resource != "leases"
	})
}

func (w *world) count(from, to time.Time, which func(controlplane.Request) bool) (map[string]int, error) {
	all, err := w.Plane.Requests(from, to)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, r := range all {
		if which(r) {
			counts[r.Verb+" "+r.Resource]++
		}
	}
	return counts, nil
}

func listing(counts map[string]int) string {
	if len(counts) == 0 {
		return "none"
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", kind, counts[kind]))
	}
	return strings.Join(parts, ", ")
}

func total(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}
