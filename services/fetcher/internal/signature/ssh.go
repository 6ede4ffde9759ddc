package signature

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

const (
	sshBegin = "-----BEGIN SSH SIGNATURE-----"
	sshEnd   = "-----END SSH SIGNATURE-----"
	// namespace keeps signatures that were made for something else from counting here.
	namespace = "git"
)

// sshMagic begins a signature and what it is made over (OpenSSH, PROTOCOL.sshsig).
var sshMagic = [6]byte{'S', 'S', 'H', 'S', 'I', 'G'}

// sshSignature is the content of the armor.
type sshSignature struct {
	Magic     [6]byte
	Version   uint32
	PublicKey string
	Namespace string
	Reserved  string
	Hash      string
	Signature string
}

// sshSigned is what the signature is made over.
type sshSigned struct {
	Magic     [6]byte
	Namespace string
	Reserved  string
	Hash      string
	Digest    string
}

func (k Keys) verifySSH(payload, armored []byte) (string, error) {
	sig, err := parseSSH(armored)
	if err != nil {
		return "", fmt.Errorf("read SSH signature: %w", err)
	}
	key, ok := k.known([]byte(sig.PublicKey))
	if !ok {
		return "", ErrUnknown
	}
	var inner ssh.Signature
	if err := ssh.Unmarshal([]byte(sig.Signature), &inner); err != nil {
		return "", fmt.Errorf("read SSH signature: %w", err)
	}
	if inner.Format == ssh.KeyAlgoRSA {
		return "", errors.New("the SSH signature uses SHA-1: sign with rsa-sha2-256 or rsa-sha2-512")
	}
	digest, err := digestOf(sig.Hash, payload)
	if err != nil {
		return "", err
	}
	signed := ssh.Marshal(sshSigned{Magic: sshMagic, Namespace: sig.Namespace, Reserved: sig.Reserved, Hash: sig.Hash, Digest: digest})
	if err := key.Verify(signed, &inner); err != nil {
		return "", ErrUnknown
	}
	return ssh.FingerprintSHA256(key), nil
}

// known returns the key of ours that a signature names.
func (k Keys) known(blob []byte) (ssh.PublicKey, bool) {
	i := slices.IndexFunc(k.ssh, func(key ssh.PublicKey) bool { return bytes.Equal(key.Marshal(), blob) })
	if i < 0 {
		return nil, false
	}
	return k.ssh[i], true
}

func parseSSH(armored []byte) (sshSignature, error) {
	var sig sshSignature
	body, begins := strings.CutPrefix(strings.TrimSpace(string(armored)), sshBegin)
	body, ends := strings.CutSuffix(body, sshEnd)
	if !begins || !ends {
		return sig, errors.New("the armor is damaged")
	}
	blob, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), ""))
	if err != nil {
		return sig, err
	}
	if err := ssh.Unmarshal(blob, &sig); err != nil {
		return sig, err
	}
	switch {
	case sig.Magic != sshMagic, sig.Version != 1:
		return sig, errors.New("it is of an unknown version")
	case sig.Namespace != namespace:
		return sig, fmt.Errorf("it was made for %q, not for %q", sig.Namespace, namespace)
	}
	return sig, nil
}

func digestOf(hash string, payload []byte) (string, error) {
	switch hash {
	case "sha256":
		sum := sha256.Sum256(payload)
		return string(sum[:]), nil
	case "sha512":
		sum := sha512.Sum512(payload)
		return string(sum[:]), nil
	}
	return "", fmt.Errorf("the SSH signature uses the hash %q: use sha256 or sha512", hash)
}
