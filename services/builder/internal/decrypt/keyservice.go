package decrypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	agearmor "filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/keyservice"
	"google.golang.org/grpc"
)

// maxDataKey bounds a data key; one has 32 bytes, a Shamir part of one 33.
const maxDataKey = 1 << 10

var (
	errNoKey    = errors.New("no key fits")
	errReadOnly = errors.New("keys are for decryption only")
)

// Decrypt opens a data key, trying every key of the kind that it was encrypted
// for. It implements SOPS' key service.
func (r *keyring) Decrypt(_ context.Context, q *keyservice.DecryptRequest, _ ...grpc.CallOption) (*keyservice.DecryptResponse, error) {
	var plain []byte
	err := errNoKey
	switch q.GetKey().GetKeyType().(type) {
	case *keyservice.Key_AgeKey:
		plain, err = r.openAge(q.GetCiphertext())
	case *keyservice.Key_PgpKey:
		plain, err = r.openPGP(q.GetCiphertext())
	}
	if err != nil {
		return nil, err
	}
	return &keyservice.DecryptResponse{Plaintext: plain}, nil
}

// Encrypt implements SOPS' key service; it always fails.
func (*keyring) Encrypt(context.Context, *keyservice.EncryptRequest, ...grpc.CallOption) (*keyservice.EncryptResponse, error) {
	return nil, errReadOnly
}

func (r *keyring) openAge(sealed []byte) ([]byte, error) {
	if len(r.age) == 0 {
		return nil, errNoKey
	}
	plain, err := age.Decrypt(agearmor.NewReader(bytes.NewReader(sealed)), r.age...)
	if err != nil {
		return nil, errNoKey
	}
	return readDataKey(plain)
}

func (r *keyring) openPGP(sealed []byte) ([]byte, error) {
	if len(r.pgp) == 0 {
		return nil, errNoKey
	}
	block, err := armor.Decode(bytes.NewReader(sealed))
	if err != nil {
		return nil, errNoKey
	}
	message, err := openpgp.ReadMessage(block.Body, r.pgp, nil, nil)
	if err != nil {
		return nil, errNoKey
	}
	return readDataKey(message.UnverifiedBody)
}

func readDataKey(in io.Reader) ([]byte, error) {
	plain, err := io.ReadAll(io.LimitReader(in, maxDataKey))
	if err != nil {
		return nil, errNoKey
	}
	return plain, nil
}

// dataKey opens the key that a document is encrypted with.
func (d *Decryptor) dataKey(metadata *sops.Metadata) ([]byte, error) {
	key, err := metadata.GetDataKeyWithKeyServices([]keyservice.KeyServiceClient{d.ring}, sops.DefaultDecryptionOrder)
	if err == nil {
		return key, nil
	}
	own, foreign := recipients(metadata)
	have := d.origin
	if have == "" {
		have = "the Kustomization (spec.decryption.secretRef is not set)"
	}
	switch {
	case len(own) > 0:
		return nil, fmt.Errorf("no key of %s opens it: add the private key of %s", have, strings.Join(own, " or "))
	case len(foreign) > 0:
		return nil, fmt.Errorf("%w: it is encrypted for %s only, and this version of Sluice uses age and PGP keys: run 'sops rotate' with --add-age or --add-pgp",
			ErrNotServed, strings.Join(foreign, " and "))
	}
	return nil, errors.New("its sops metadata names no key: encrypt it again with sops")
}

// recipients lists whom a document is encrypted for: those whose keys this package
// takes, and the others. All of it is public.
func recipients(metadata *sops.Metadata) (own, foreign []string) {
	for _, group := range metadata.KeyGroups {
		for _, key := range group {
			name := key.TypeToIdentifier() + " " + key.ToString()
			switch key.TypeToIdentifier() {
			case "age", "pgp":
				own = append(own, name)
			default:
				foreign = append(foreign, name)
			}
		}
	}
	return own, foreign
}
