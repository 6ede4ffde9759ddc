package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"strings"
)

// SignStored vouches for what is stored for an object where others may write: only who has the keys can
// make the token, key id and HMAC joined by a dot, for just that object and just these parts. Like a head
// it stays authentic for ever.
func (k *Keyring) SignStored(id Identity, parts ...string) (string, error) {
	if err := id.Validate(); err != nil {
		return "", fmt.Errorf("sign what is stored: %w", err)
	}
	key, err := k.key(k.currentID())
	if err != nil {
		return "", fmt.Errorf("sign what is stored for %s: %w", id, err)
	}
	return encode([]byte(k.current)) + "." + encode(storedMAC(key, id, parts)), nil
}

// VerifyStored checks a token of SignStored.
func (k *Keyring) VerifyStored(id Identity, token string, parts ...string) error {
	if err := k.verifyStored(id, token, parts); err != nil {
		return fmt.Errorf("verify what is stored for %s: %w", id, err)
	}
	return nil
}

func (k *Keyring) verifyStored(id Identity, token string, parts []string) error {
	if err := id.Validate(); err != nil {
		return err
	}
	name, text, _ := strings.Cut(token, ".")
	keyID, err := decode(name)
	if err != nil {
		return fmt.Errorf("%w: key id: %w", ErrFormat, err)
	}
	mac, err := decode(text)
	if err != nil {
		return fmt.Errorf("%w: HMAC: %w", ErrFormat, err)
	}
	key, err := k.key(string(keyID))
	if err != nil {
		return err
	}
	if !hmac.Equal(mac, storedMAC(key, id, parts)) {
		return ErrForged
	}
	return nil
}

func storedMAC(key subkeys, id Identity, parts []string) []byte {
	mac := hmac.New(sha256.New, key.stored)
	fields := id.fields()
	mac.Write(frame(fields[:]...))
	mac.Write(frame(parts...))
	return mac.Sum(nil)
}
