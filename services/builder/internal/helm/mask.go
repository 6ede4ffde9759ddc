package helm

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"sigs.k8s.io/yaml"
)

// mask stands where a secret was in an error.
const mask = "***"

// minSecret is how many bytes a text of a Secret has at least that is masked, minLine a line of one: shorter ones are parts of
// any word. maxMasked is how many bytes of an error are looked through; nobody is told more.
const (
	minSecret = 4
	minLine   = 8
	maxMasked = 64 << 10
)

// maskedError shows another text for an error.
type maskedError struct {
	text string
	err  error
}

// Error implements error.
func (e *maskedError) Error() string { return e.text }

// Unwrap returns the error, for what it is, not for its text.
func (e *maskedError) Unwrap() error { return e.err }

// masked returns an error without what Secrets hold of which the request's values are made, or that its templates looked up,
// and without the values that an upgrade preserves, which may come from Secrets: a schema's refusal quotes the value, and what
// a template fails with is the chart's.
func (q Request) masked(err error) error {
	var lookups *LookupError
	if err == nil || errors.As(err, &lookups) {
		return err
	}
	text := err.Error()
	if len(text) > maxMasked {
		text = strings.ToValidUTF8(text[:maxMasked], "")
	}
	var s secrets
	s.ofValues(q.Values)
	for _, f := range q.Found {
		s.ofLookup(f.Kind, f.Object)
	}
	if q.Previous != nil {
		s.add(q.Previous.Config)
	}
	if clean := s.cut(text); clean != err.Error() {
		return &maskedError{text: clean, err: err}
	}
	return err
}

// secrets are texts that no error may show.
type secrets []string

// ofValues adds what references to Secrets hold, as values and as they are written.
func (s *secrets) ofValues(v Values) {
	for _, ref := range v.From {
		if ref.Kind != "Secret" {
			continue
		}
		values, body := map[string]any{}, v.Texts[ref.Text]
		var err error
		if ref.TargetPath == "" {
			err = yaml.Unmarshal(body, &values)
		} else {
			s.text(strings.Trim(string(body), `"'`))
			err = setValue(values, ref.ValuesReference, string(body))
		}
		if err == nil { // else nothing was rendered with it
			s.add(values)
		}
	}
}

// ofLookup adds the data of a Secret, or of a list of them, that was looked up.
func (s *secrets) ofLookup(kind string, body []byte) {
	type data struct {
		Data map[string]string `json:"data"`
	}
	var found struct {
		data
		Items []data `json:"items"`
	}
	if kind != "Secret" || json.Unmarshal(body, &found) != nil {
		return
	}
	for _, d := range append(found.Items, found.data) {
		for _, encoded := range d.Data {
			if plain, err := base64.StdEncoding.DecodeString(encoded); err == nil {
				s.text(string(plain))
			}
		}
	}
}

// add adds the texts and numbers of a tree.
func (s *secrets) add(tree any) {
	switch v := tree.(type) {
	case map[string]any:
		for _, item := range v {
			s.add(item)
		}
	case []any:
		for _, item := range v {
			s.add(item)
		}
	case string:
		s.text(v)
	case float64:
		s.number(v)
	case int64: // of a --set
		s.plain(minSecret, strconv.FormatInt(v, 10))
		s.number(float64(v))
	}
}

// number adds a number as Go, JSON and a schema's refusal write it.
func (s *secrets) number(n float64) {
	s.plain(minSecret, fmt.Sprint(n))
	s.plain(minSecret, strconv.FormatFloat(n, 'f', -1, 64))
	s.plain(minSecret, message.NewPrinter(language.English).Sprint(n))
}

// text adds a text as it may be written: as it is, in quotes, encoded, and line by line.
func (s *secrets) text(text string) {
	for _, t := range []string{text, strings.TrimSpace(text)} {
		if len(t) < minSecret {
			continue
		}
		s.written(minSecret, t)
		s.plain(minSecret, base64.StdEncoding.EncodeToString([]byte(t)))
	}
	if strings.Contains(text, "\n") {
		for line := range strings.Lines(text) {
			s.written(minLine, strings.TrimSpace(line))
		}
	}
}

// written adds a text as it is and as Go, JSON and a schema's refusal write it.
func (s *secrets) written(least int, text string) {
	s.plain(least, text)
	quoted := strconv.Quote(text)
	quoted = quoted[1 : len(quoted)-1]
	s.plain(least, quoted)
	s.plain(least, strings.ReplaceAll(strings.ReplaceAll(quoted, `\"`, `"`), `'`, `\'`))
	if body, err := json.Marshal(text); err == nil {
		s.plain(least, string(body[1:len(body)-1]))
	}
}

func (s *secrets) plain(least int, text string) {
	if len(text) >= least {
		*s = append(*s, text)
	}
}

// cut masks all secrets in a text, the longest first.
func (s *secrets) cut(text string) string {
	slices.SortFunc(*s, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	for _, secret := range slices.Compact(*s) {
		text = strings.ReplaceAll(text, secret, mask)
	}
	return text
}
