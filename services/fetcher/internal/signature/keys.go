package signature

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"golang.org/x/crypto/ssh"
)

// ErrUnknown says that no key made the signature.
var ErrUnknown = errors.New("unable to verify payload with any of the given key rings")

// Keys are the public keys whose signatures count.
type Keys struct {
	rings []openpgp.EntityList
	ssh   []ssh.PublicKey
}

// Parse reads the keys of a Secret: a key ring in PGP armor in each entry, or SSH
// public keys, one a line, in each entry whose name ends in .sshpub.
func Parse(data map[string][]byte) (Keys, error) {
	var k Keys
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if strings.HasSuffix(name, ".sshpub") {
			found, err := authorized(data[name])
			if err != nil {
				return Keys{}, fmt.Errorf("unable to read SSH public keys '%s': %w", name, err)
			}
			k.ssh = append(k.ssh, found...)
			continue
		}
		ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data[name]))
		if err != nil {
			return Keys{}, fmt.Errorf("unable to read armored key ring '%s': %w", name, err)
		}
		k.rings = append(k.rings, ring)
	}
	return k, nil
}

func authorized(body []byte) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	for line := range bytes.Lines(body) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey(line)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no key")
	}
	return keys, nil
}

// Verify returns the id of the key that made a signature over payload: a PGP key's
// id, or an SSH key's fingerprint.
func (k Keys) Verify(payload, signature []byte) (string, error) {
	if bytes.HasPrefix(bytes.TrimSpace(signature), []byte(sshBegin)) {
		return k.verifySSH(payload, signature)
	}
	for _, ring := range k.rings {
		signer, err := openpgp.CheckArmoredDetachedSignature(ring, bytes.NewReader(payload), bytes.NewReader(signature), nil)
		if err == nil {
			return signer.PrimaryKey.KeyIdString(), nil
		}
	}
	return "", ErrUnknown
}
