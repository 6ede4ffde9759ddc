package serve

import (
	"fmt"
	"regexp"
	"strings"
)

// redacted stands where a credential was.
const redacted = "***"

// A rule finds credentials of one form. hint is text without which find cannot
// match, to save the search; with is the replacement, in the syntax of regexp.
type rule struct {
	hint string
	find *regexp.Regexp
	with string
}

// rules returns the forms in the order in which they are applied. Package
// regexp runs in linear time, so hostile text costs no more than its length.
func rules() []rule {
	const key = `(?:password|passwd|passphrase|access[_-]?token|refresh[_-]?token|auth[_-]?token|id[_-]?token|private[_-]?token|token` +
		`|api[_-]?key|access[_-]?key|secret[_-]?key|secret[_-]?access[_-]?key|private[_-]?key|client[_-]?secret|secret|sig|signature` +
		`|x-amz-(?:signature|credential|security-token)|x-goog-signature)`
	return []rule{
		{"PRIVATE KEY", regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`), redacted},
		// user:password before a host, the password perhaps with raw slashes
		{"://", regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)[^\s/:@"'\[\]]*:[^\s"'@/]*[^\s"'@/0-9][^\s"'@]*@`), "${1}" + redacted + "@"},
		// any other user information; the last @ before the path counts
		{"://", regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)([^\s/?#"']*)@`), "${1}" + redacted + "@"},
		// headers, as text, as a Go map and as JSON
		{"", regexp.MustCompile(`(?i)\b((?:proxy-)?authorization["']?\s*[:=]\s*[\["']*)(?:(?:bearer|basic|token|digest|negotiate|apikey)\s+)?[^\s"',\]}]+`), "${1}" + redacted},
		{":", regexp.MustCompile(`(?i)\b((?:(?:set-)?cookie|private-token|x-[a-z0-9-]*(?:token|key|secret|signature)(?:-256)?)["']?\s*:\s*[\["']*)[^\s"',\]}]+`), "${1}" + redacted},
		// key=value in queries, forms and configuration; "key": "value" in JSON and YAML
		{"=", regexp.MustCompile(`(?i)\b(` + key + `=)(?:"[^"]*"|'[^']*'|[^\s"'&,;]+)`), "${1}" + redacted},
		{":", regexp.MustCompile(`(?i)(["']` + key + `["']\s*:\s*)(?:"(?:[^"\\]|\\.)*"|'[^']*')`), `${1}"` + redacted + `"`},
		{`\"`, regexp.MustCompile(`(?i)(\\"` + key + `\\"\s*:\s*\\")[^"\\]*`), "${1}" + redacted},
		// tokens that can be known by their look
		{"", regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_.-]{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}` +
			`|xox[a-z]-[A-Za-z0-9-]{10,}|AGE-SECRET-KEY-1[A-Z0-9]{20,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*` +
			`|S[UAOCNX][A-Z2-7]{56})`), redacted},
		{"hooks.slack.com", regexp.MustCompile(`(https://hooks\.slack\.com/services/)[^\s"']+`), "${1}" + redacted},
	}
}

// redactor holds the compiled rules, and apart from them the one that finds
// "Bearer x" and "Basic x" in running text, where x may be an innocent word.
type redactor struct {
	rules       []rule
	schemeToken *regexp.Regexp
}

// theRedactor is compiled once and never changed.
var theRedactor = redactor{
	rules:       rules(),
	schemeToken: regexp.MustCompile(`(?i)\b(bearer|basic)(\s+)([A-Za-z0-9._~+/=-]{8,})`),
}

// Redact removes credentials from text: user information in URLs, query
// parameters and key=value pairs that name a secret, Authorization and token
// headers, and tokens and private keys that can be known by their look. It
// keeps the rest, so that a message still says what went wrong.
func Redact(s string) string {
	if plain(s) {
		return s
	}
	for _, r := range theRedactor.rules {
		if strings.Contains(s, r.hint) {
			s = r.find.ReplaceAllString(s, r.with)
		}
	}
	return theRedactor.schemeToken.ReplaceAllStringFunc(s, func(match string) string {
		part := theRedactor.schemeToken.FindStringSubmatch(match)
		if !looksSecret(part[3]) {
			return match
		}
		return part[1] + part[2] + redacted
	})
}

// margin is how much more of a long text is looked at than is told: a credential that lies across its end would not be known
// for one. None is as long as that, but for a private key, of which the begin suffices.
const margin = 64 << 10

// Brief is Redact for text that may be of any length, as others write it: it returns no more than limit bytes, and says how
// many are missing.
func Brief(s string, limit int) string {
	whole := len(s)
	if whole > limit+margin {
		s = Redact(s[:limit+margin])
		s = s[:max(len(s)-margin, 0)]
	} else {
		s = Redact(s)
		if len(s) <= limit {
			return s
		}
	}
	s = strings.ToValidUTF8(s[:min(len(s), limit)], "")
	return fmt.Sprintf("%s… (cut; %d bytes in all)", s, whole)
}

// RedactError returns err with credentials removed from its text. errors.Is
// and errors.As see through it to the original. It returns nil for nil.
func RedactError(err error) error {
	if err == nil {
		return nil
	}
	if text := err.Error(); Redact(text) != text {
		return &redactedError{text: Redact(text), err: err}
	}
	return err
}

// redactedError shows a clean text for an error that has another.
type redactedError struct {
	text string
	err  error
}

// Error returns the clean text.
func (e *redactedError) Error() string { return e.text }

// Unwrap returns the original, for its identity, not for its text.
func (e *redactedError) Unwrap() error { return e.err }

// plain says that s is a bare name or a few plain words, which is most of what
// is logged, and in which no credential can hide.
func plain(s string) bool {
	return len(s) < 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-./ ") == "" &&
		!strings.Contains(s, "glpat-") && !strings.Contains(s, "bearer ") && !strings.Contains(s, "basic ")
}

// looksSecret tells a token from the word after "basic" in a sentence: it has
// a digit, a padding sign, or a capital inside.
func looksSecret(s string) bool {
	s = strings.TrimRight(s, ".")
	return strings.ContainsAny(s, "0123456789=+/_") || strings.ToLower(s[1:]) != s[1:] && strings.ToUpper(s) != s
}
