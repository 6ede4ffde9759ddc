package seal_test

import (
	"bytes"
	"testing"

	"github.com/sluice-gitops/sluice/internal/seal"
)

// FuzzOpen feeds hostile bytes to both readers: nothing but what was made here
// may be accepted, and nothing may panic.
func FuzzOpen(f *testing.F) {
	k := keyring(f, seal.NewKeyringData())
	plain := []byte("kind: Secret")
	id, out := sealed(f, k, plain)
	token, err := k.SignHead(head(k))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(out)
	f.Add([]byte(token))
	f.Add([]byte("SLR1\xff"))
	f.Add([]byte("sluice1..."))
	f.Fuzz(func(t *testing.T, in []byte) {
		if got, err := k.Open(subject(), id, in); err == nil && (!bytes.Equal(in, out) || !bytes.Equal(got, plain)) {
			t.Errorf("opened a forged render: %q", got)
		}
		if got, err := k.VerifyHead(string(in), subject()); err == nil && string(in) != token {
			t.Errorf("verified a forged head: %+v", got)
		}
	})
}
