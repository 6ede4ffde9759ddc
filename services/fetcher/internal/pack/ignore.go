package pack

import (
	"path"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"
)

// maxIgnoreBytes and maxIgnorePatterns bound the rules for one archive, wherever they are from.
const (
	maxIgnoreBytes    = 1 << 20
	maxIgnorePatterns = 10_000
)

// Ignore says which entries an archive leaves out. A nil *Ignore leaves out nothing.
// It is for one goroutine.
type Ignore struct {
	rules rules
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
	var found rules
	for _, f := range ruleFiles(files) {
		if err := found.readFile(f); err != nil {
			return nil, err
		}
	}
	if extra != nil {
		if err := found.read("the ignore rules of the object", *extra, nil); err != nil {
			return nil, err
		}
	}
	if len(found.sets) == 0 {
		defaults := append(sourceignore.VCSPatterns(nil), sourceignore.DefaultPatterns(nil)...)
		return &Ignore{rules: rules{sets: []ruleSet{{patterns: defaults}}}, byName: map[element]bool{}}, nil
	}
	found.sets = slices.Insert(found.sets, 0, ruleSet{patterns: sourceignore.VCSPatterns(nil)})
	return &Ignore{rules: found}, nil
}

// Rules returns the rules of texts in the .sourceignore format, the last match wins, and
// no other; nil without any.
func Rules(texts ...string) (*Ignore, error) {
	var found rules
	for _, text := range texts {
		if err := found.read("the ignore rules", text, nil); err != nil {
			return nil, err
		}
	}
	if len(found.sets) == 0 {
		return nil, nil
	}
	return &Ignore{rules: found}, nil
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

// Match says that an entry is left out. Every entry is judged by itself: a rule
// may take back a file whose folder is left out.
func (i *Ignore) Match(name string, dir bool) bool {
	if i == nil {
		return false
	}
	if i.byName == nil {
		return i.rules.match(strings.Split(name, "/"), dir)
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
		left = i.rules.match([]string{e.name}, e.dir)
		i.byName[e] = left
	}
	return left
}
