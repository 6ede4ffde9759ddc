package chartindex

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// lines takes the usual layout apart: entries is a block, in it the charts, and under
// each a list of versions.
type lines struct {
	entries map[string][][]byte
	header  bytes.Buffer
	// begun is true from the first field of the index on, and ended once the first document has: Helm reads no further.
	begun, ended bool
	// inside is true between the line "entries:" and the next field of the index, and found from there on.
	inside, found bool
	// chart is the newest name, at an indentation; dash is that of its items. Whole is true when
	// its list begins beside the name, and is one piece.
	chart             string
	indentation, dash int
	whole             bool
	start, end        int
	// versions is how many there are so far.
	versions int
	// wrong says what is wrong with the index, if this is its layout.
	wrong error
}

// splitLines says false of a layout that it does not know. An error is what is wrong with a known one, or why
// the context has ended.
func splitLines(ctx context.Context, data []byte) (_ parts, known bool, err error) {
	l := &lines{entries: map[string][][]byte{}, indentation: -1, start: -1, end: -1}
	for at := 0; at < len(data) && !l.ended; {
		next := len(data)
		if n := bytes.IndexByte(data[at:], '\n'); n >= 0 {
			next = at + n + 1
		}
		if ctx.Err() != nil {
			return parts{}, true, context.Cause(ctx)
		}
		if !l.line(data, at, next) {
			return parts{}, false, nil
		}
		if l.wrong == nil && (l.versions > maxVersions || len(l.entries) > maxCharts) {
			l.wrong = errMany
		}
		if l.wrong != nil {
			return parts{guessed: true}, true, l.wrong
		}
		at = next
	}
	l.flush(data)
	p := parts{entries: l.entries, decode: strict, guessed: true}
	return p, true, strict(l.header.Bytes(), &p.header)
}

func (l *lines) line(data []byte, at, next int) bool {
	line := bytes.TrimRight(data[at:next], " \t\r\n")
	text := bytes.TrimLeft(line, " ")
	indentation := len(line) - len(text)
	switch {
	case len(text) == 0, text[0] == '#':
		l.keep(next)
		return true
	case indentation == 0:
		l.flush(data)
		return l.top(string(text), data[at:next])
	case !l.inside:
		l.header.Write(data[at:next])
		return true
	}
	if l.indentation < 0 {
		l.indentation = indentation
	}
	switch item := text[0] == '-' && (len(text) == 1 || text[1] == ' '); {
	case indentation < l.indentation:
		return false
	case l.whole && (indentation > l.indentation || item || text[0] == ']'):
		l.keep(next)
		return true
	case indentation == l.indentation && !item:
		l.flush(data)
		return l.name(string(text), at+indentation, next)
	case l.chart == "":
		return false
	case item && l.dash < 0:
		l.dash = indentation
	}
	if text[0] == '-' && indentation == l.dash {
		l.flush(data)
		l.start = at
		l.versions++
	}
	l.keep(next)
	return l.start >= 0
}

// top takes a line that is not indented: a field of the index, or where a document begins or ends.
func (l *lines) top(text string, line []byte) bool {
	l.inside = false
	mark, _, _ := strings.Cut(text, " #")
	switch {
	case text[0] == '%' && !l.begun:
		return true
	case mark == "---", mark == "...":
		l.ended = l.begun
		return true
	}
	l.begun = true
	key, value, ok := field(text)
	if !ok || strings.Trim(key, `"'`) != "entries" {
		l.header.Write(line)
		return true
	}
	if l.found {
		l.wrong = fmt.Errorf("key %q already set in map", "entries")
	}
	value, _, _ = strings.Cut(value, " #")
	l.inside, l.found = value == "", true
	return l.inside || value == "{}"
}

// field takes a key and its value apart, which has its comment unless that is all there is; false when they are no field.
func field(text string) (key, value string, ok bool) {
	var end int
	if quote := text[0]; quote == '"' || quote == '\'' {
		end = 2 + strings.IndexByte(text[1:], quote) // what has the quote in it is no field then
	} else {
		for end = strings.IndexByte(text, ':'); end >= 0 && end < len(text)-1 && text[end+1] != ' ' && text[end+1] != '\t'; {
			more := strings.IndexByte(text[end+1:], ':')
			if more < 0 {
				return "", "", false
			}
			end += 1 + more
		}
	}
	if end <= 0 || end >= len(text) || text[end] != ':' || strings.Contains(text[:end], " #") && text[0] != '"' && text[0] != '\'' {
		return "", "", false
	}
	rest := text[end+1:]
	value = strings.TrimLeft(rest, " \t")
	switch {
	case value != "" && len(value) == len(rest):
		return "", "", false
	case strings.HasPrefix(value, "#"):
		value = ""
	}
	return text[:end], value, true
}

// name begins a chart, whose line begins at a place without its indentation.
func (l *lines) name(text string, at, next int) bool {
	quoted, value, ok := field(text)
	if !ok || len(quoted) > maxName {
		return false
	}
	var name string
	if err := yaml.Unmarshal([]byte(quoted), &name); err != nil || name == "" {
		return false
	}
	if _, twice := l.entries[name]; twice {
		l.wrong = fmt.Errorf("key %q already set in map", name)
	}
	l.chart, l.dash, l.start, l.whole = name, -1, -1, value != ""
	l.entries[name] = nil
	if l.whole {
		l.start, l.end = at+len(text)-len(value), next
	}
	return true
}

func (l *lines) keep(next int) {
	if l.start >= 0 {
		l.end = next
	}
}

// flush ends a version.
func (l *lines) flush(data []byte) {
	if l.chart != "" && l.start >= 0 && l.end > l.start {
		l.entries[l.chart] = append(l.entries[l.chart], data[l.start:l.end])
	}
	l.start, l.end = -1, -1
}
