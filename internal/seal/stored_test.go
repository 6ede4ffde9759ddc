package seal_test

import (
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/seal"
)

// TestStored vouches for what is stored for one object, in these parts and no others.
func TestStored(t *testing.T) {
	data := seal.NewKeyringData()
	k := keyring(t, data)
	token, err := k.SignStored(subject(), "ab", "c")
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := seal.RotateKeyringData(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []*seal.Keyring{k, keyring(t, rotated)} {
		if err := k.VerifyStored(subject(), token, "ab", "c"); err != nil {
			t.Error(err)
		}
	}
	key, mac, _ := strings.Cut(token, ".")
	for _, parts := range [][]string{nil, {"ab"}, {"a", "bc"}, {"ab", "c", ""}, {"ab", "d"}} {
		wantErr(t, "other parts", k.VerifyStored(subject(), token, parts...), seal.ErrForged)
	}
	for why, id := range others() {
		wantErr(t, "another "+why, k.VerifyStored(id, token, "ab", "c"), seal.ErrForged)
	}
	wantErr(t, "no HMAC", k.VerifyStored(subject(), key, "ab", "c"), seal.ErrForged)
	wantErr(t, "no base64", k.VerifyStored(subject(), key+".?", "ab", "c"), seal.ErrFormat)
	wantErr(t, "no key id", k.VerifyStored(subject(), "?."+mac, "ab", "c"), seal.ErrFormat)
	wantErr(t, "nothing", k.VerifyStored(subject(), "", "ab", "c"), seal.ErrUnknownKey)
	wantErr(t, "another keyring", keyring(t, seal.NewKeyringData()).VerifyStored(subject(), token, "ab", "c"), seal.ErrUnknownKey)
	wantErr(t, "nobody's", k.VerifyStored(seal.Identity{}, token, "ab", "c"), seal.ErrIdentity)
	_, err = k.SignStored(seal.Identity{}, "ab")
	wantErr(t, "for nobody", err, seal.ErrIdentity)
}
