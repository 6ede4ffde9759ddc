package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
)

// SecretName is the Secret of the runtime namespace that holds the keyring: the applier makes
// it, the builder waits for it.
const SecretName = "sluice-keys" //nolint:gosec // the name of an object

// The entries of a keyring's data, which is the data of a Kubernetes Secret.
const (
	// entryCurrent holds the id of the key that new renders are sealed with.
	entryCurrent = "current"
	// entryNaming holds the key that content ids are made with.
	entryNaming = "naming"
	// entryKey is followed by a key id and holds that key.
	entryKey = "key."
)

// keySize is the size of every key in bytes.
const keySize = 32

// maxKeyID bounds a key id, which is stored in front of every render.
const maxKeyID = 63

// Keyring holds the keys. It is read-only and safe for concurrent use.
type Keyring struct {
	current string
	keys    map[string]subkeys
	naming  []byte
	packing *packing
}

// subkeys are what one key of the keyring is used as, one per purpose.
type subkeys struct {
	render       cipher.AEAD
	head, stored []byte
}

// NewKeyringData generates the data of a keyring with one key. It panics only
// if the system has no randomness, as crypto/rand does.
func NewKeyringData() map[string][]byte {
	data, _ := RotateKeyringData(map[string][]byte{entryNaming: newKey()}) // the input is complete
	return data
}

// RotateKeyringData returns a copy of data with a new key, used from now on
// for sealing. Older keys stay, so that what they sealed can be opened; remove
// their entries when nothing sealed with them is left. The naming key stays
// too: a new one would give every render a new content id.
func RotateKeyringData(data map[string][]byte) (map[string][]byte, error) {
	if len(data[entryNaming]) != keySize {
		return nil, fmt.Errorf("%w: entry %q must have %d bytes", ErrKeyring, entryNaming, keySize)
	}
	out := maps.Clone(data)
	id := hex.EncodeToString(newKey()[:6])
	out[entryKey+id] = newKey()
	out[entryCurrent] = []byte(id)
	return out, nil
}

func newKey() []byte {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails: it ends the process instead
	return key
}

// ParseKeyring reads the data of a keyring and refuses one that is incomplete.
func ParseKeyring(data map[string][]byte) (*Keyring, error) {
	k := &Keyring{current: strings.TrimSpace(string(data[entryCurrent])), keys: map[string]subkeys{}, packing: &packing{}}
	for entry, key := range data {
		id, ok := strings.CutPrefix(entry, entryKey)
		if !ok {
			continue
		}
		if id == "" || len(id) > maxKeyID || len(key) != keySize {
			return nil, fmt.Errorf("%w: entry %q must be %s<id> with %d bytes", ErrKeyring, entry, entryKey, keySize)
		}
		derived, err := derive(key)
		if err != nil {
			return nil, fmt.Errorf("%w: entry %q: %w", ErrKeyring, entry, err)
		}
		k.keys[id] = derived
	}
	if len(data[entryNaming]) != keySize {
		return nil, fmt.Errorf("%w: entry %q must have %d bytes", ErrKeyring, entryNaming, keySize)
	}
	k.naming = append(k.naming, data[entryNaming]...)
	if _, err := k.key(k.current); err != nil {
		return nil, fmt.Errorf("%w: entry %q names no key: %w", ErrKeyring, entryCurrent, err)
	}
	return k, nil
}

// derive makes one key per purpose (RFC 5869), so that no use of one can
// weaken another.
func derive(key []byte) (subkeys, error) {
	render, err := hkdf.Key(sha256.New, key, nil, "sluice render v1", keySize)
	if err != nil {
		return subkeys{}, fmt.Errorf("derive render key: %w", err)
	}
	head, err := hkdf.Key(sha256.New, key, nil, "sluice head v1", keySize)
	if err != nil {
		return subkeys{}, fmt.Errorf("derive head key: %w", err)
	}
	stored, err := hkdf.Key(sha256.New, key, nil, "sluice stored v1", keySize)
	if err != nil {
		return subkeys{}, fmt.Errorf("derive key for what is stored: %w", err)
	}
	block, err := aes.NewCipher(render)
	if err != nil {
		return subkeys{}, fmt.Errorf("use render key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return subkeys{}, fmt.Errorf("use render key: %w", err)
	}
	return subkeys{render: aead, head: head, stored: stored}, nil
}

// Subkey returns a key of 32 bytes for one purpose (RFC 5869). Like the naming key,
// from which it comes, it stays the same when the sealing key is rotated.
func (k *Keyring) Subkey(purpose string) ([]byte, error) {
	if k == nil {
		return nil, fmt.Errorf("%w: there is no keyring", ErrKeyring)
	}
	key, err := hkdf.Key(sha256.New, k.naming, nil, "sluice "+purpose, keySize)
	if err != nil {
		return nil, fmt.Errorf("derive key for %s: %w", purpose, err)
	}
	return key, nil
}

// key finds a key; a nil keyring holds none.
func (k *Keyring) key(id string) (subkeys, error) {
	if k == nil {
		return subkeys{}, fmt.Errorf("%w: there is no keyring", ErrKeyring)
	}
	key, ok := k.keys[id]
	if !ok {
		return subkeys{}, &UnknownKeyError{ID: id}
	}
	return key, nil
}

// ContentID names a render by its content: the same plain text has the same
// id for as long as the naming key stays, and nobody without that key can tell
// what an id stands for. It is 64 lowercase hex digits.
func (k *Keyring) ContentID(plain []byte) string {
	mac := hmac.New(sha256.New, k.naming)
	mac.Write(plain)
	return hex.EncodeToString(mac.Sum(nil))
}
