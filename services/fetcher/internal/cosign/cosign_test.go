package cosign

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// Of a bundle with more signatures than anybody makes no more are tried than the first ones: each would be hashed and computed,
// and nothing ends that.
func TestSignaturesOfABundleAreBounded(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := "sha256:" + strings.Repeat("a", 64)
	payload := fmt.Sprintf(`{"subject":[{"digest":{"sha256":%q}}]}`, strings.Repeat("a", 64))
	sum := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(statementType), statementType, len(payload), payload))
	good, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	for before, want := range map[int]bool{0: true, 1: true, maxEnvelope - 1: true, maxEnvelope: false, 50_000: false} {
		text := fmt.Sprintf(`{"dsseEnvelope":{"payloadType":%q,"payload":%q,"signatures":[%s{"sig":%q}]}}`, statementType,
			base64.StdEncoding.EncodeToString([]byte(payload)), strings.Repeat(`{"sig":""},`, before), base64.StdEncoding.EncodeToString(good))
		if got := (Keys{key.Public()}).bundled([]byte(text), digest) == nil; got != want {
			t.Errorf("after %d others the signature counts: %t, want %t", before, got, want)
		}
	}
}
