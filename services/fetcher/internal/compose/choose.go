package compose

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// choice is a file of a source and the path that it gets.
type choice struct {
	file pack.File
	to   string
}

// choose returns the files that an operation brings. Folders come with the files in them.
func (t *Tree) choose(ctx context.Context, source []pack.File, c Copy) ([]choice, error) {
	to, err := pack.Within(c.To)
	if err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	from, err := pack.Within(c.From)
	if err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	for _, pattern := range append([]string{from}, c.Exclude...) {
		if err := check(pattern); err != nil {
			return nil, err
		}
	}
	base := from
	selects := func(name string) bool { return name == from }
	if wild(from) {
		base, _ = doublestar.SplitPattern(from)
		selects = func(name string) bool { return doublestar.MatchUnvalidated(from, name) }
	} else if from != "." && t.folder(to, c.To) {
		to = path.Join(to, path.Base(from)) // what is copied into a folder keeps its name there
	}
	var chosen []choice
	for _, f := range source {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		rest, ok := pack.Below(f.Path, base)
		if f.Dir || !ok || !(from == "." || itOrFolder(f.Path, selects)) {
			continue
		}
		if excluded(c.Exclude, f.Path) || excluded(c.Exclude, rest) {
			continue
		}
		chosen = append(chosen, choice{file: f, to: path.Join(to, rest)})
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("nothing matches %q", c.From)
	}
	return chosen, nil
}

// The bounds of a pattern: its bytes, and the ways to take its alternatives ({a,b}), each of which is tried.
const (
	maxPattern = 1 << 10
	maxWays    = 256
)

func check(pattern string) error {
	switch {
	case len(pattern) > maxPattern:
		return fmt.Errorf("pattern %.20q… has %d bytes, and %d are the most: write several", pattern, len(pattern), maxPattern)
	case !doublestar.ValidatePattern(pattern):
		return fmt.Errorf("pattern %q is not valid", pattern)
	case ways(pattern) > maxWays:
		return fmt.Errorf("pattern %q has more than %d ways to take its alternatives: write several", pattern, maxWays)
	}
	return nil
}

// ways is at least in how many ways the alternatives of a valid pattern can be taken, or more than maxWays. It takes those
// within others for more than they are.
func ways(pattern string) int {
	all := 1
	var open []int // how many alternatives each has that is not at its end
	for i := 0; i < len(pattern) && all <= maxWays; i++ {
		switch last := len(open) - 1; {
		case pattern[i] == '\\':
			i++
		case pattern[i] == '[': // a class, where signs are characters
			for i++; i < len(pattern) && pattern[i] != ']'; i++ {
				if pattern[i] == '\\' {
					i++
				}
			}
		case pattern[i] == '{':
			open = append(open, 1)
		case pattern[i] == ',' && last >= 0:
			open[last]++
		case pattern[i] == '}' && last >= 0:
			all *= open[last]
			open = open[:last]
		}
	}
	return all
}

// wild says that a path is a pattern.
func wild(name string) bool { return strings.ContainsAny(name, `*?[{\`) }

// folder says that what has no wildcard is copied into the path, not to it.
func (t *Tree) folder(clean, written string) bool {
	if clean == "." || strings.HasSuffix(written, "/") {
		return true
	}
	f, ok := t.find(clean)
	return ok && f.Dir
}

// itOrFolder says that a path or a folder it is in is meant.
func itOrFolder(name string, meant func(string) bool) bool {
	for ; name != "." && name != ""; name = path.Dir(name) {
		if meant(name) {
			return true
		}
	}
	return false
}

func excluded(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		return itOrFolder(name, func(name string) bool {
			if !strings.Contains(pattern, "/") {
				name = path.Base(name)
			}
			return doublestar.MatchUnvalidated(pattern, name)
		})
	})
}
