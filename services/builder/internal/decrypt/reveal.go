package decrypt

import (
	"encoding/base64"
	"regexp"
	"strings"
)

var word = regexp.MustCompile(`[A-Za-z0-9]+`)

// shortWord is the length up to which a word gives a value away only on its own.
const shortWord = 3

// encodedStart is how many bytes of a value are looked for in base64: the end of
// that form depends on what follows it.
const encodedStart = 24

// Reveals says whether a text may hold a part of a value that was decrypted, as
// it is or as a Secret holds it. It errs on the safe side: the same words from
// elsewhere count too.
func (d *Decryptor) Reveals(text string) bool {
	if d == nil {
		return false
	}
	said := map[string]bool{}
	for _, w := range word.FindAllString(text, -1) {
		said[w] = true
	}
	found := func(words string) bool {
		for _, w := range word.FindAllString(words, -1) {
			if said[w] || (len(w) > shortWord && strings.Contains(text, w)) {
				return true
			}
		}
		return false
	}
	for _, value := range d.opened {
		if found(value) || found(startOf(value)) {
			return true
		}
	}
	for _, document := range d.documents {
		if found(startOf(document)) {
			return true
		}
	}
	return false
}

// startOf is the start of a value in base64.
func startOf(value string) string {
	encoded := base64.StdEncoding.EncodeToString([]byte(value[:min(len(value), encodedStart)]))
	return encoded[:len(encoded)/4*3]
}
