package pack

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/sourceignore/gitignore"
)

// rules are sets of patterns, of which the later ones win.
type rules struct {
	sets []ruleSet
	// bytes and patterns are how many there are.
	bytes, patterns int
}

// ruleSet is patterns that hold in one folder, of which the later ones win.
type ruleSet struct {
	// domain are the folders that lead to it, none for the root. The patterns themselves know nothing of it: each
	// would have a copy.
	domain   []string
	patterns []gitignore.Pattern
}

// readFile adds the rules of an ignore file.
func (r *rules) readFile(f File) error {
	_, content, err := f.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	body, err := io.ReadAll(io.LimitReader(content, maxIgnoreBytes+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Path, err)
	}
	return r.read(f.Path, string(body), domainOf(f))
}

// read adds the rules of a text: what is not empty and does not begin with # is one.
func (r *rules) read(name, text string, domain []string) error {
	if r.bytes += len(text); r.bytes > maxIgnoreBytes {
		return fmt.Errorf("%s: the ignore rules have more than %d bytes together: %w", name, maxIgnoreBytes, ErrLimit)
	}
	set := ruleSet{domain: domain}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		if r.patterns++; r.patterns > maxIgnorePatterns {
			return fmt.Errorf("%s: there are more than %d ignore rules together: %w", name, maxIgnorePatterns, ErrLimit)
		}
		set.patterns = append(set.patterns, gitignore.ParsePattern(line, nil))
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if len(set.patterns) > 0 {
		r.sets = append(r.sets, set)
	}
	return nil
}

// match says that an entry is left out.
func (r rules) match(path []string, dir bool) bool {
	for _, set := range slices.Backward(r.sets) {
		if len(path) <= len(set.domain) || !slices.Equal(path[:len(set.domain)], set.domain) {
			continue
		}
		for _, pattern := range slices.Backward(set.patterns) {
			if found := pattern.Match(path[len(set.domain):], dir); found != gitignore.NoMatch {
				return found == gitignore.Exclude
			}
		}
	}
	return false
}
