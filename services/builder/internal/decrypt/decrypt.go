package decrypt

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/logging"
	"github.com/sirupsen/logrus"
)

// Provider is the only decryption provider there is.
const Provider = "sops"

// ErrNotServed says that something is encrypted only for kinds of keys that this
// package does not take. Only another encryption helps.
var ErrNotServed = errors.New("its kind of key is not served")

// maxFile bounds an encrypted document, as Flux does.
const maxFile = 5 << 20

// Decryptor decrypts for one build. It is not safe for concurrent use.
type Decryptor struct {
	ring   *keyring
	origin string
	// opened are the values that were decrypted.
	opened []string
	// documents are the plain texts that Secrets may hold whole.
	documents []string
}

// Error says why something cannot be decrypted. It quotes no value and no key.
type Error struct{ why error }

// Error implements error.
func (e *Error) Error() string { return e.why.Error() }

// Unwrap gives the cause, which may be ErrNotServed.
func (e *Error) Unwrap() error { return e.why }

// New returns a Decryptor with keys. An error names the entry that holds no key.
func New(keys Keys) (*Decryptor, error) {
	logging.SetLevel(logrus.PanicLevel) // its lines quote comments
	ring, err := keys.parse()
	if err != nil {
		return nil, &Error{fmt.Errorf("spec.decryption: %w", err)}
	}
	return &Decryptor{ring: ring, origin: keys.Origin}, nil
}

// File decrypts a document if it is encrypted. as is the name by which its reader
// goes, whose suffix says in which format the plain text is wanted; when it says
// none the format stays. The MAC, which covers the whole document, must fit.
func (d *Decryptor) File(as string, body []byte) ([]byte, error) {
	f, ok := detect(as, body)
	if !ok {
		return body, nil
	}
	if len(body) > maxFile {
		return nil, &Error{fmt.Errorf("it has %d bytes, and an encrypted file may have %d: make it smaller", len(body), maxFile)}
	}
	wanted := byName(as)
	if wanted == formatBinary {
		wanted = f
	}
	plain, err := d.document(f, wanted, body, true)
	if err != nil {
		return nil, &Error{err}
	}
	d.documents = append(d.documents, string(plain))
	return plain, nil
}

// document decrypts body; intact says that it is as it was encrypted, so that its
// MAC must fit. Input that was made to harm can make SOPS panic.
func (d *Decryptor) document(from, to format, body []byte, intact bool) (plain []byte, err error) {
	defer func() {
		if recover() != nil {
			plain, err = nil, unreadable(from)
		}
	}()
	tree, err := from.store().LoadEncryptedFile(body)
	if err != nil {
		return nil, unreadable(from)
	}
	key, err := d.dataKey(&tree.Metadata)
	if err != nil {
		return nil, err
	}
	c := &cipher{Cipher: aes.NewCipher()}
	mac, err := tree.Decrypt(key, c)
	d.opened = append(d.opened, c.opened...)
	if err != nil {
		return nil, fmt.Errorf("its value at %s is not as sops wrote it: encrypt it again with sops", c.at())
	}
	if intact {
		if err := verify(tree, key, mac); err != nil {
			return nil, err
		}
	}
	plain, err = to.store().EmitPlainFile(tree.Branches)
	if err != nil {
		return nil, fmt.Errorf("it is encrypted %s that cannot be written as %s: give it a name with the suffix of its format", from, to)
	}
	return plain, nil
}

func unreadable(f format) error {
	return fmt.Errorf("it cannot be read as encrypted %s: encrypt it again with sops", f)
}

// verify compares a document's MAC with the one that was made when it was encrypted.
func verify(tree sops.Tree, key []byte, mac string) error {
	want, err := aes.NewCipher().Decrypt(tree.Metadata.MessageAuthenticationCode, key, tree.Metadata.LastModified.Format(time.RFC3339))
	if err != nil || want != mac {
		return errors.New("its MAC does not fit, it was changed without sops: compare it with a version that you trust and encrypt it again")
	}
	return nil
}

// cipher decrypts values and knows where it failed.
type cipher struct {
	aes.Cipher
	// opened are the texts that were decrypted.
	opened []string
	path   string
}

// Decrypt implements sops.Cipher. The additional data is the value's path.
func (c *cipher) Decrypt(sealed string, key []byte, additional string) (any, error) {
	c.path = additional
	plain, err := c.Cipher.Decrypt(sealed, key, additional)
	if err != nil {
		return nil, err
	}
	if text, ok := plain.(string); ok {
		c.opened = append(c.opened, text)
	}
	return plain, nil
}

// at is the path of the last value, as the field is written.
func (c *cipher) at() string {
	path := strings.ReplaceAll(strings.TrimSuffix(c.path, ":"), ":", ".")
	if path == "" {
		return "its top"
	}
	return path
}
