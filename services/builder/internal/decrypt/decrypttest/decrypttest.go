// Package decrypttest makes keys and encrypts documents with SOPS, for tests.
package decrypttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/kms"
	"github.com/getsops/sops/v3/pgp"
	dotenvstore "github.com/getsops/sops/v3/stores/dotenv"
	inistore "github.com/getsops/sops/v3/stores/ini"
	jsonstore "github.com/getsops/sops/v3/stores/json"
	yamlstore "github.com/getsops/sops/v3/stores/yaml"
	"google.golang.org/grpc"
)

// Age is an age key pair.
type Age struct{ identity *age.X25519Identity }

// NewAge makes a key pair.
func NewAge(t testing.TB) Age {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	return Age{identity}
}

// Private is the key as a Secret holds it.
func (k Age) Private() []byte {
	return fmt.Appendf(nil, "# created: today\n# public key: %s\n%s\n", k.identity.Recipient(), k.identity)
}

// PGP is a PGP key pair.
type PGP struct{ entity *openpgp.Entity }

// NewPGP makes a key pair.
func NewPGP(t testing.TB) PGP {
	t.Helper()
	entity, err := openpgp.NewEntity("test", "", "test@example.com", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	must(t, err)
	return PGP{entity}
}

// Private is the armored key; with a passphrase when one is given.
func (k PGP) Private(t testing.TB, passphrase string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PrivateKeyType, nil)
	must(t, err)
	if passphrase == "" {
		must(t, k.entity.SerializePrivate(w, nil))
	} else {
		must(t, k.entity.EncryptPrivateKeys([]byte(passphrase), nil))
		must(t, k.entity.SerializePrivateWithoutSigning(w, nil))
		must(t, k.entity.DecryptPrivateKeys([]byte(passphrase)))
	}
	must(t, w.Close())
	return append(out.Bytes(), '\n')
}

// Fingerprint of the key.
func (k PGP) Fingerprint() string { return fmt.Sprintf("%X", k.entity.PrimaryKey.Fingerprint) }

// For is whom a document is encrypted for, and how.
type For struct {
	Age []Age
	PGP []PGP
	// KMS names AWS keys, which nothing can be encrypted with here.
	KMS []string
	// Groups splits the data key between a group for each key; all are needed.
	Groups bool
	// Regex selects the fields that are encrypted; empty means all.
	Regex string
	// NoMAC leaves the MAC out.
	NoMAC bool
}

type store interface {
	LoadPlainFile(in []byte) (sops.TreeBranches, error)
	EmitEncryptedFile(in sops.Tree) ([]byte, error)
}

func storeOf(format string) store {
	c := config.NewStoresConfig()
	switch format {
	case "yaml":
		return yamlstore.NewStore(&c.YAML)
	case "json":
		return jsonstore.NewStore(&c.JSON)
	case "dotenv":
		return dotenvstore.NewStore(&c.Dotenv)
	case "ini":
		return inistore.NewStore(&c.INI)
	}
	return jsonstore.NewBinaryStore(&c.JSONBinary)
}

// Encrypt encrypts a document of a format: yaml, json, dotenv, ini or binary.
func Encrypt(t testing.TB, format, plain string, to For) string {
	t.Helper()
	s := storeOf(format)
	branches, err := s.LoadPlainFile([]byte(plain))
	must(t, err)
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{EncryptedRegex: to.Regex, Version: "3.13.3"}}
	if to.Regex == "" {
		tree.Metadata.UnencryptedSuffix = sops.DefaultUnencryptedSuffix
	}
	key := seal(t, &tree, to)
	cipher := aes.NewCipher()
	mac, err := tree.Encrypt(key, cipher)
	must(t, err)
	tree.Metadata.LastModified = time.Now().UTC().Truncate(time.Second)
	if !to.NoMAC {
		tree.Metadata.MessageAuthenticationCode, err = cipher.Encrypt(mac, key, tree.Metadata.LastModified.Format(time.RFC3339))
		must(t, err)
	}
	out, err := s.EmitEncryptedFile(tree)
	must(t, err)
	return string(out)
}

// seal makes the data key and encrypts it for all recipients.
func seal(t testing.TB, tree *sops.Tree, to For) []byte {
	t.Helper()
	var all []keys.MasterKey
	for _, k := range to.Age {
		all = append(all, &sopsage.MasterKey{Recipient: k.identity.Recipient().String()})
	}
	for _, k := range to.PGP {
		all = append(all, pgp.NewMasterKeyFromFingerprint(k.Fingerprint()))
	}
	for _, arn := range to.KMS {
		all = append(all, kms.NewMasterKey(arn, "", nil))
	}
	groups := []sops.KeyGroup{all}
	if to.Groups {
		groups = nil
		for _, k := range all {
			groups = append(groups, sops.KeyGroup{k})
		}
	}
	tree.Metadata.KeyGroups = groups
	key, errs := tree.GenerateDataKeyWithKeyServices([]keyservice.KeyServiceClient{recipients{to.PGP}})
	must(t, errors.Join(errs...))
	return key
}

// recipients encrypts data keys without gpg and without a network.
type recipients struct{ pgp []PGP }

// Encrypt implements SOPS' key service.
func (r recipients) Encrypt(_ context.Context, q *keyservice.EncryptRequest, _ ...grpc.CallOption) (*keyservice.EncryptResponse, error) {
	switch k := q.GetKey().GetKeyType().(type) {
	case *keyservice.Key_AgeKey:
		m := &sopsage.MasterKey{Recipient: k.AgeKey.GetRecipient()}
		err := m.Encrypt(q.GetPlaintext())
		return &keyservice.EncryptResponse{Ciphertext: m.EncryptedDataKey()}, err
	case *keyservice.Key_PgpKey:
		for _, p := range r.pgp {
			if p.Fingerprint() == k.PgpKey.GetFingerprint() {
				sealed, err := p.encrypt(q.GetPlaintext())
				return &keyservice.EncryptResponse{Ciphertext: sealed}, err
			}
		}
	}
	return &keyservice.EncryptResponse{Ciphertext: []byte("sealed elsewhere")}, nil
}

// Decrypt implements SOPS' key service; it always fails.
func (recipients) Decrypt(context.Context, *keyservice.DecryptRequest, ...grpc.CallOption) (*keyservice.DecryptResponse, error) {
	return nil, errors.New("recipients only encrypt")
}

func (k PGP) encrypt(plain []byte) ([]byte, error) {
	var out bytes.Buffer
	outer, err := armor.Encode(&out, "PGP MESSAGE", nil)
	if err != nil {
		return nil, err
	}
	inner, err := openpgp.Encrypt(outer, []*openpgp.Entity{k.entity}, nil, &openpgp.FileHints{IsBinary: true}, nil)
	if err != nil {
		return nil, err
	}
	_, err = inner.Write(plain)
	err = errors.Join(err, inner.Close(), outer.Close())
	return out.Bytes(), err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
