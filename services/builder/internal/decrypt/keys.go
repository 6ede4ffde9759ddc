package decrypt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// The suffixes of the entries of a Secret that hold keys.
const (
	// AgeSuffix marks age secret keys, one a line.
	AgeSuffix = ".agekey"
	// PGPSuffix marks armored PGP private keys without a passphrase.
	PGPSuffix = ".asc"
)

// Keys are private keys as a Secret holds them.
type Keys struct {
	// Origin names the Secret, for messages: "Secret namespace/name". It is empty
	// when there is none.
	Origin string `json:"origin,omitempty"`
	// Entries are the Secret's entries that hold keys, by name.
	Entries map[string][]byte `json:"entries,omitempty"`
}

// Select keeps the entries of a Secret whose names end in one of the suffixes.
func Select(data map[string][]byte, suffixes ...string) map[string][]byte {
	keys := map[string][]byte{}
	for name, value := range data {
		if slices.Contains(suffixes, path.Ext(name)) {
			keys[name] = value
		}
	}
	return keys
}

// keyring is Keys, parsed.
type keyring struct {
	age []age.Identity
	pgp openpgp.EntityList
}

func (k Keys) parse() (*keyring, error) {
	ring := &keyring{}
	for _, name := range slices.Sorted(maps.Keys(k.Entries)) {
		var err error
		switch path.Ext(name) {
		case AgeSuffix:
			err = ring.addAge(k.Entries[name])
		case PGPSuffix:
			err = ring.addPGP(k.Entries[name])
		}
		if err != nil {
			return nil, fmt.Errorf("entry %s of %s %w", name, k.Origin, err)
		}
	}
	return ring, nil
}

func (r *keyring) addAge(text []byte) error {
	identities, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil { // its words may quote a key
		return errors.New("holds no age secret keys: put one AGE-SECRET-KEY-1… a line")
	}
	r.age = append(r.age, identities...)
	return nil
}

// addPGP adds the private keys of one or more armored blocks.
func (r *keyring) addPGP(text []byte) error {
	in := bufio.NewReader(bytes.NewReader(text))
	blocks := 0
	for {
		block, err := armor.Decode(in)
		if errors.Is(err, io.EOF) && blocks > 0 {
			return nil
		}
		if err != nil {
			return errors.New("holds no armored PGP key: use the output of gpg --export-secret-keys --armor")
		}
		entities, err := openpgp.ReadKeyRing(block.Body)
		if err != nil {
			return errors.New("holds a PGP key that cannot be read: use the output of gpg --export-secret-keys --armor")
		}
		blocks++
		for _, entity := range entities {
			if locked(entity) {
				return errors.New("holds a PGP key with a passphrase: remove the passphrase before exporting it")
			}
			if entity.PrivateKey != nil || len(entity.Subkeys) > 0 {
				r.pgp = append(r.pgp, entity)
			}
		}
	}
}

func locked(e *openpgp.Entity) bool {
	if e.PrivateKey != nil && e.PrivateKey.Encrypted && !e.PrivateKey.Dummy() {
		return true
	}
	return slices.ContainsFunc(e.Subkeys, func(k openpgp.Subkey) bool {
		return k.PrivateKey != nil && k.PrivateKey.Encrypted && !k.PrivateKey.Dummy()
	})
}
