package pack

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"
	"github.com/fluxcd/pkg/sourceignore/gitignore"
)

// maxIgnoreFile bounds one ignore file.
const maxIgnoreFile = 1 << 20

// Ignore says which entries an archive leaves out. A nil *Ignore leaves out nothing.
// It is for one goroutine.
type Ignore struct {
	matcher gitignore.Matcher
	// byName holds what the rules say to a last path element, for rules that look
	// at nothing else; nil for others.
	byName map[element]bool
}

type element struct {
	name string
	dir  bool
}

// ReadIgnore collects the rules for files: the .sourceignore of every folder, for
// that folder, and then extra, for the root; the last match wins. Without any
// such rule the default ones hold: files of version control and of CI services,
// pictures and archives. With one, only those of version control do.
func ReadIgnore(files []File, extra *string) (*Ignore, error) {
	var patterns []gitignore.Pattern
	for _, f := range ruleFiles(files) {
		found, err := readRules(f)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, found...)
	}
	if extra != nil {
		patterns = append(patterns, sourceignore.ReadPatterns(strings.NewReader(*extra), nil)...)
	}
	if len(patterns) == 0 {
		return &Ignore{matcher: sourceignore.NewDefaultMatcher(nil, nil), byName: map[element]bool{}}, nil
	}
	return &Ignore{matcher: sourceignore.NewMatcher(append(sourceignore.VCSPatterns(nil), patterns...))}, nil
}

// Rules returns the rules of texts in the .sourceignore format, the last match wins, and
// no other; nil without any.
func Rules(texts ...string) *Ignore {
	var patterns []gitignore.Pattern
	for _, text := range texts {
		patterns = append(patterns, sourceignore.ReadPatterns(strings.NewReader(text), nil)...)
	}
	if len(patterns) == 0 {
		return nil
	}
	return &Ignore{matcher: sourceignore.NewMatcher(patterns)}
}

// ruleFiles returns the ignore files, those of a folder before those below it, so
// that the deeper one has the last word.
func ruleFiles(files []File) []File {
	var found []File
	for _, f := range files {
		if !f.Dir && path.Base(f.Path) == sourceignore.IgnoreFile {
			found = append(found, f)
		}
	}
	slices.SortStableFunc(found, func(a, b File) int { return slices.Compare(domainOf(a), domainOf(b)) })
	return found
}

// domainOf returns the folders that lead to a file, none for the root.
func domainOf(f File) []string {
	dir := path.Dir(f.Path)
	if dir == "." {
		return nil
	}
	return strings.Split(dir, "/")
}

func readRules(f File) ([]gitignore.Pattern, error) {
	size, content, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer content.Close()
	if size > maxIgnoreFile {
		return nil, fmt.Errorf("%s has more than %d bytes: %w", f.Path, maxIgnoreFile, ErrLimit)
	}
	body, err := io.ReadAll(content)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	return sourceignore.ReadPatterns(bytes.NewReader(body), domainOf(f)), nil
}

// Match says that an entry is left out. Every entry is judged by itself: a rule
// may take back a file whose folder is left out.
func (i *Ignore) Match(name string, dir bool) bool {
	if i == nil {
		return false
	}
	if i.byName == nil {
		return i.matcher.Match(strings.Split(name, "/"), dir)
	}
	for {
		first, rest, more := strings.Cut(name, "/")
		if i.matchElement(element{name: first, dir: more || dir}) {
			return true
		}
		if !more {
			return false
		}
		name = rest
	}
}

// matchElement judges one path element. The default rules name elements, wherever
// they are, so a repository costs one look at each of its names.
func (i *Ignore) matchElement(e element) bool {
	left, known := i.byName[e]
	if !known {
		left = i.matcher.Match([]string{e.name}, e.dir)
		i.byName[e] = left
	}
	return left
}
