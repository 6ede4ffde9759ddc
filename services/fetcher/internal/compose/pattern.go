package compose

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// Pattern matches folders and captures parts of their paths: apps/{app}/envs/{env}.
type Pattern struct {
	names []string
	match *regexp.Regexp
}

var capture = regexp.MustCompile(`\{[A-Za-z][A-Za-z0-9_-]*\}`)

// ParsePattern reads a pattern: {name} stands for one path element or a part of one,
// * for characters of an element, ** for any folders.
func ParsePattern(text string) (*Pattern, error) {
	clean, err := pack.Within(text)
	if err != nil {
		return nil, err
	}
	p := &Pattern{}
	var expression strings.Builder
	literal := func(text string) {
		for i, part := range strings.Split(text, "**") {
			if i > 0 {
				expression.WriteString(".*")
			}
			for j, piece := range strings.Split(part, "*") {
				if j > 0 {
					expression.WriteString("[^/]*")
				}
				expression.WriteString(regexp.QuoteMeta(piece))
			}
		}
	}
	rest := clean
	for _, at := range capture.FindAllString(clean, -1) {
		before, after, _ := strings.Cut(rest, at)
		literal(before)
		name := strings.Trim(at, "{}")
		if slices.ContainsFunc(p.names, func(other string) bool { return strings.EqualFold(other, name) }) {
			return nil, fmt.Errorf("{%s} is there twice: captures become labels, whose names have no upper case", name)
		}
		p.names = append(p.names, name)
		expression.WriteString("([^/]+)")
		rest = after
	}
	if strings.ContainsAny(rest, "{}") {
		return nil, errors.New("a capture is written {name}, with letters, digits, - and _")
	}
	literal(rest)
	if p.match, err = regexp.Compile("^" + expression.String() + "$"); err != nil {
		return nil, err
	}
	return p, nil
}

// Captures are what a pattern captured of one folder, by name.
type Captures map[string]string

// Find returns what the pattern captures of each folder of a tree that it matches, in the
// order of the folders.
func (p *Pattern) Find(tree []pack.File) []Captures {
	dirs := map[string]bool{}
	for _, f := range tree {
		dir := f.Path
		if !f.Dir {
			dir = path.Dir(dir)
		}
		for ; dir != "." && !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
		}
	}
	var found []Captures
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		match := p.match.FindStringSubmatch(dir)
		if match == nil {
			continue
		}
		captured := Captures{}
		for i, name := range p.names {
			captured[name] = match[i+1]
		}
		found = append(found, captured)
	}
	return found
}

// Fill replaces each {name} by what was captured.
func (c Captures) Fill(text string) string {
	var pairs []string
	for name, value := range c {
		pairs = append(pairs, "{"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
