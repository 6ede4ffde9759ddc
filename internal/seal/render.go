package seal

import (
	"crypto/rand"
	"fmt"
)

// MaxPlain is the largest render, in bytes before compression.
const MaxPlain = 128 << 20

// A sealed render is magic, one byte with the length of the key id, the key
// id, the nonce, and the AES-GCM output. All before the nonce is
// authenticated with the identity and the content id.
const (
	magic     = "SLR1"
	nonceSize = 12
)

// Seal compresses and encrypts a render for one object. contentID is what
// ContentID returned for plain. Sealing twice gives different bytes: the
// nonce is random, which is sound for four thousand million renders a key.
func (k *Keyring) Seal(id Identity, contentID string, plain []byte) ([]byte, error) {
	if err := checkSubject(id, contentID); err != nil {
		return nil, fmt.Errorf("seal render: %w", err)
	}
	if len(plain) > MaxPlain {
		return nil, fmt.Errorf("seal render of %s: %d bytes, at most %d allowed: %w", id, len(plain), MaxPlain, ErrTooLarge)
	}
	if _, err := k.key(k.currentID()); err != nil {
		return nil, fmt.Errorf("seal render of %s: %w", id, err)
	}
	packed, err := k.packing.compress(plain)
	if err != nil {
		return nil, fmt.Errorf("seal render of %s: %w", id, err)
	}
	return k.sealPacked(id, contentID, packed)
}

func (k *Keyring) sealPacked(id Identity, contentID string, packed []byte) ([]byte, error) {
	key, err := k.key(k.currentID())
	if err != nil {
		return nil, fmt.Errorf("seal render of %s: %w", id, err)
	}
	out := append([]byte(magic), byte(len(k.current)))
	out = append(out, k.current...)
	aad := associated(out, id, contentID)
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails: it ends the process instead
	out = append(out, nonce...)
	return key.render.Seal(out, nonce, packed, aad), nil
}

// Open decrypts what Seal made for the same identity and content id. It does
// not compare the plain text with the content id once more: the tag already
// binds both, and renders named by an earlier naming key stay readable.
func (k *Keyring) Open(id Identity, contentID string, sealed []byte) ([]byte, error) {
	return k.OpenWithin(id, contentID, sealed, MaxPlain)
}

// OpenWithin is Open for a render of at most limit bytes, of which a larger one takes no memory: it is ErrTooLarge.
func (k *Keyring) OpenWithin(id Identity, contentID string, sealed []byte, limit int) ([]byte, error) {
	if err := checkSubject(id, contentID); err != nil {
		return nil, fmt.Errorf("open render: %w", err)
	}
	header, keyID, rest, err := split(sealed)
	if err != nil {
		return nil, fmt.Errorf("open render of %s: %w", id, err)
	}
	key, err := k.key(keyID)
	if err != nil {
		return nil, fmt.Errorf("open render of %s: %w", id, err)
	}
	packed, err := key.render.Open(nil, rest[:nonceSize], rest[nonceSize:], associated(header, id, contentID))
	if err != nil {
		return nil, fmt.Errorf("open render %s of %s: %w", contentID, id, ErrForged)
	}
	plain, err := k.packing.expand(packed, limit)
	if err != nil {
		return nil, fmt.Errorf("open render %s of %s: %w", contentID, id, err)
	}
	return plain, nil
}

func (k *Keyring) currentID() string {
	if k == nil {
		return ""
	}
	return k.current
}

func checkSubject(id Identity, contentID string) error {
	if contentID == "" {
		return fmt.Errorf("%w: the content id of %s is empty", ErrIdentity, id)
	}
	return id.Validate()
}

// associated is the associated data: the header, then every field with its
// length in front.
func associated(header []byte, id Identity, contentID string) []byte {
	f := id.fields()
	return frame(append([]string{string(header)}, append(f[:], contentID)...)...)
}

// split takes a sealed render apart without trusting it.
func split(sealed []byte) (header []byte, keyID string, rest []byte, err error) {
	start := len(magic) + 1
	if len(sealed) < start || string(sealed[:len(magic)]) != magic {
		return nil, "", nil, fmt.Errorf("%w: not a sealed render", ErrFormat)
	}
	end := start + int(sealed[start-1])
	if len(sealed) < end+nonceSize {
		return nil, "", nil, fmt.Errorf("%w: sealed render is cut short", ErrFormat)
	}
	return sealed[:end:end], string(sealed[start:end]), sealed[end:], nil
}
