package kustomize

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// decrypter decrypts a file, if it is encrypted. as is the name that its reader
// knows it by.
type decrypter interface {
	File(as string, body []byte) ([]byte, error)
}

// secrets are the files that kustomize gets decrypted: those that Secret
// generators and patches name, as in Flux, and manifests whose very kind is
// encrypted, with which kustomize can do nothing. Other objects are decrypted
// after the build, because they may opt out.
type secrets struct {
	// decrypter is nil when nothing is to be decrypted.
	decrypter decrypter
	// names has, by their path in the artifact, the files and what they are known as.
	names map[string]string
	// failed is the first file that could not be decrypted; kustomize hides some errors.
	failed error
}

// note remembers the files that a kustomization in folder dir takes secrets from.
func (s *secrets) note(dir string, k map[string]any) {
	add := func(as, file any) {
		name, _ := file.(string)
		known, _ := as.(string)
		if rel := path.Join(dir, name); name != "" && s.names[rel] == "" {
			s.names[rel] = known
		}
	}
	for _, generator := range list(k["secretGenerator"]) {
		for _, file := range list(fieldOf(generator, "files")) {
			text, _ := file.(string)
			as, name, ok := strings.Cut(text, "=")
			if !ok {
				as, name = path.Base(text), text
			}
			add(as, name)
		}
		for _, env := range append(list(fieldOf(generator, "envs")), fieldOf(generator, "env")) {
			add(env, env)
		}
	}
	for _, field := range []string{"patches", "patchesJson6902"} {
		for _, patch := range list(k[field]) {
			add(fieldOf(patch, "path"), fieldOf(patch, "path"))
		}
	}
	for _, patch := range list(k["patchesStrategicMerge"]) {
		add(patch, patch)
	}
}

// sealedKind is the kind of an object that is encrypted as a whole.
var sealedKind = regexp.MustCompile(`(?m)^\s*"?kind"?:\s*"?ENC\[AES256_GCM,`)

// open decrypts the file at rel if it is one of them.
func (s *secrets) open(rel string, body []byte) ([]byte, error) {
	if s.decrypter == nil {
		return body, nil
	}
	as := s.names[rel]
	if as == "" && sealedKind.Match(body) {
		as = path.Base(rel)
	}
	if as == "" {
		return body, nil
	}
	plain, err := s.decrypter.File(as, body)
	if err != nil {
		err = fmt.Errorf("decrypt %s: %w", rel, err)
		if s.failed == nil {
			s.failed = err
		}
		return nil, err
	}
	return plain, nil
}
