package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Head says which render an object should run, and from what it was made.
type Head struct {
	Identity
	// Generation is the metadata.generation of the custom resource as built.
	Generation int64 `json:"generation,omitempty"`
	// Revision and OriginRevision are those of the source's artifact.
	Revision       string `json:"revision"`
	OriginRevision string `json:"originRevision,omitempty"`
	// SourceDigest is the digest of the source's artifact.
	SourceDigest string `json:"sourceDigest"`
	// SpecDigest is the digest of the parts of the spec that the build read.
	SpecDigest string `json:"specDigest"`
	// RenderID is the content id of the render.
	RenderID string `json:"renderId"`
	// RenderName is the name of the sealed render in the bucket.
	RenderName string `json:"renderName,omitempty"`
	// Objects is how many Kubernetes objects the render holds.
	Objects int `json:"objects"`
	// BuiltAt is when the build ended.
	BuiltAt time.Time `json:"builtAt,omitzero"`
	// Details holds what only one kind of object needs (DetailAction, DetailRevision, DetailConfig)
	// and what the builder notes for itself.
	Details map[string]string `json:"details,omitempty"`
}

// The details of a Helm release's head: the action it was rendered for, install or upgrade,
// the revision that the release gets, and a keyed digest of the values that it is made with.
const (
	DetailAction   = "action"
	DetailRevision = "revision"
	DetailConfig   = "config"
)

// headVersion starts every token, and is authenticated with the rest.
const headVersion = "sluice1"

// maxToken bounds a token before anything of it is decoded.
const maxToken = 64 << 10

// SignHead returns the head as a token: version, key id, payload and HMAC,
// joined by dots, safe in JSON, headers and URLs. It is not encrypted.
func (k *Keyring) SignHead(h Head) (string, error) {
	if err := h.Validate(); err != nil {
		return "", fmt.Errorf("sign head: %w", err)
	}
	key, err := k.key(k.currentID())
	if err != nil {
		return "", fmt.Errorf("sign head of %s: %w", h.Identity, err)
	}
	payload, err := json.Marshal(h)
	if err != nil {
		return "", fmt.Errorf("sign head of %s: %w", h.Identity, err)
	}
	signed := headVersion + "." + encode([]byte(k.current)) + "." + encode(payload)
	token := signed + "." + encode(headMAC(key, signed))
	if len(token) > maxToken {
		return "", fmt.Errorf("sign head of %s: %d bytes: %w", h.Identity, len(token), ErrTooLarge)
	}
	return token, nil
}

// VerifyHead checks a token and returns its head if it is authentic and made
// for want. Nothing in the payload is looked at before the HMAC is right.
func (k *Keyring) VerifyHead(token string, want Identity) (Head, error) {
	if err := want.Validate(); err != nil {
		return Head{}, fmt.Errorf("verify head: %w", err)
	}
	h, err := k.verifyHead(token)
	if err != nil {
		return Head{}, fmt.Errorf("verify head of %s: %w", want, err)
	}
	if h.Identity != want {
		return Head{}, fmt.Errorf("verify head of %s: made for %s, uid %s: %w", want, h.Identity, h.UID, ErrForged)
	}
	return h, nil
}

func (k *Keyring) verifyHead(token string) (Head, error) {
	if len(token) > maxToken {
		return Head{}, fmt.Errorf("%w: %d bytes", ErrFormat, len(token))
	}
	part := strings.Split(token, ".")
	if len(part) != 4 || part[0] != headVersion {
		return Head{}, fmt.Errorf("%w: not a head", ErrFormat)
	}
	keyID, err := decode(part[1])
	if err != nil {
		return Head{}, fmt.Errorf("%w: key id: %w", ErrFormat, err)
	}
	key, err := k.key(string(keyID))
	if err != nil {
		return Head{}, err
	}
	mac, err := decode(part[3])
	if err != nil {
		return Head{}, fmt.Errorf("%w: HMAC: %w", ErrFormat, err)
	}
	if !hmac.Equal(mac, headMAC(key, strings.Join(part[:3], "."))) {
		return Head{}, ErrForged
	}
	return decodeHead(part[2])
}

// decodeHead reads an authentic payload. A field this version does not know
// may restrict what it does know, so it is refused.
func decodeHead(part string) (Head, error) {
	payload, err := decode(part)
	if err != nil {
		return Head{}, fmt.Errorf("%w: payload: %w", ErrFormat, err)
	}
	var h Head
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return Head{}, fmt.Errorf("%w: payload: %w", ErrFormat, err)
	}
	return h, h.Validate()
}

// Validate refuses a head that lacks what its reader decides by.
func (h Head) Validate() error {
	if err := h.Identity.Validate(); err != nil {
		return err
	}
	if h.Revision == "" || h.SourceDigest == "" || h.SpecDigest == "" || h.RenderID == "" {
		return fmt.Errorf("%w: the head of %s lacks revision, source digest, spec digest or render id", ErrFormat, h.Identity)
	}
	return nil
}

func headMAC(key subkeys, signed string) []byte {
	mac := hmac.New(sha256.New, key.head)
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// decode is strict: one value has one spelling.
func decode(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }
