package refusal

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// maxCause bounds, in bytes, what is told of the API server's message on one object.
	maxCause = 300
	// maxQuoted bounds a value or a name that such a message quotes.
	maxQuoted = 100
	// maxCauses is how many causes are looked at.
	maxCauses = 100
	// maxSearched bounds, in bytes, the message that is searched for more than fields.
	maxSearched = 64 << 10
)

// Cause returns what the API server said, on one line of about 300 bytes at most.
// Fields and the rules they break come first: values that are long are cut, and
// dumps of whole fields left out. Hide is called on every text before it is cut,
// so that it finds whole what it is to hide.
func Cause(err error, hide func(string) string) string {
	text := err.Error()
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		if s := status.Status(); s.Reason == metav1.StatusReasonInvalid && s.Details != nil && len(s.Details.Causes) > 0 {
			if about, _, ok := strings.Cut(s.Message, " is invalid: "); ok {
				about = shorten(hide(about)) + " is invalid: "
				return about + fields(s.Details.Causes, maxCause-len(about), hide)
			}
		}
	}
	text = typed.ReplaceAllString(ends(hide(text)), "")
	return Cut(shorten(strings.Join(strings.Fields(text), " ")), maxCause)
}

// ends returns the begin and the end of a text that is long.
func ends(text string) string {
	if len(text) <= maxSearched {
		return text
	}
	return strings.ToValidUTF8(text[:maxSearched/2], "") + " … " + strings.ToValidUTF8(text[len(text)-maxSearched/2:], "")
}

// typed is the dump of a value that has another type than its field.
var typed = regexp.MustCompile(`, got &[^\n]*`)

// fields tells of as many fields as fit, of one at least.
func fields(causes []metav1.StatusCause, limit int, hide func(string) string) string {
	var told []string
	looked := causes[:min(len(causes), maxCauses)]
	for _, c := range looked {
		text := detail(hide(c.Message))
		if c.Field != "" && c.Field != "<nil>" && c.Field != "[]" {
			text = hide(c.Field) + ": " + text
		}
		if !slices.Contains(told, text) {
			told = append(told, text)
		}
	}
	out, left := Cut(told[0], max(limit, maxCause/2)), len(causes)-len(looked)
	for n, text := range told[1:] {
		if len(out)+len(text)+2 > limit {
			left += len(told) - 1 - n
			break
		}
		out += ", " + text
	}
	if left > 0 {
		out += fmt.Sprintf(", and %d more", left)
	}
	return out
}

// detail returns what is wrong with a field's value, and the value when it is short.
func detail(message string) string {
	message, _, _ = strings.Cut(message, "\n") // a dump of the change follows
	message = pattern.ReplaceAllString(message, "$1")
	const invalid = "Invalid value: "
	rest, ok := strings.CutPrefix(message, invalid)
	if !ok {
		return shorten(message)
	}
	value, why := split(rest)
	switch {
	case why == "":
		return invalid + shorten(Cut(value, maxQuoted))
	case strings.ContainsAny(value[:1], "{[&") || strings.Contains(value, "{"):
		return shorten(why)
	}
	return invalid + shorten(value) + ": " + shorten(why)
}

// pattern is the regular expression that the API server adds to a rule which it says in words.
var pattern = regexp.MustCompile(`,? ?regex used for validation is '.*?'(\)|$)`)

// split parts a value from the rule behind it. A value may hold the colon that
// parts the two, but then only in quotes or brackets.
func split(text string) (value, why string) {
	if quoted, err := strconv.QuotedPrefix(text); err == nil {
		return quoted, strings.TrimPrefix(text[len(quoted):], ": ")
	}
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case strings.IndexByte("{[(", c) >= 0:
			depth++
		case strings.IndexByte("}])", c) >= 0:
			depth--
		case depth == 0 && i > 0 && strings.HasPrefix(text[i:], ": "):
			return text[:i], text[i+2:]
		}
	}
	return text, ""
}

// long is a quoted name or value that takes more room than it is worth.
var long = regexp.MustCompile(fmt.Sprintf(`"[^"\s]{%d,}"`, maxQuoted))

// shorten cuts long names and values in the middle.
func shorten(text string) string {
	return long.ReplaceAllStringFunc(text, func(quoted string) string {
		return strings.ToValidUTF8(quoted[:maxQuoted/2], "") + "…" + strings.ToValidUTF8(quoted[len(quoted)-maxQuoted/3:], "")
	})
}

// Cut returns a text of at most limit bytes that ends with a whole word, and an
// ellipsis where something is missing.
func Cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const ellipsis = "…"
	end := max(limit-len(ellipsis), 0)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	if space := strings.LastIndexAny(text[:end], " \n"); space > end/2 {
		end = space
	}
	return strings.TrimRight(text[:end], " ,:;\n") + ellipsis
}
