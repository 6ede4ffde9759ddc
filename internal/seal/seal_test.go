package seal_test

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/sluice-gitops/sluice/internal/seal"
)

func subject() seal.Identity {
	return seal.Identity{Cluster: "local", Kind: "Kustomization", Namespace: "apps", Name: "web", UID: "0b6e"}
}

func keyring(t testing.TB, data map[string][]byte) *seal.Keyring {
	t.Helper()
	k, err := seal.ParseKeyring(data)
	if err != nil {
		t.Fatalf("parse keyring: %v", err)
	}
	return k
}

func sealed(t testing.TB, k *seal.Keyring, plain []byte) (contentID string, out []byte) {
	t.Helper()
	contentID = k.ContentID(plain)
	out, err := k.Seal(subject(), contentID, plain)
	if err != nil {
		t.Fatalf("seal: %v", err)
	}
	return contentID, out
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// others returns identities that differ from subject in one field each, or
// join to the same text.
func others() map[string]seal.Identity {
	out := map[string]seal.Identity{}
	for name, change := range map[string]func(*seal.Identity){
		"cluster":   func(id *seal.Identity) { id.Cluster = "prod" },
		"kind":      func(id *seal.Identity) { id.Kind = "HelmRelease" },
		"case":      func(id *seal.Identity) { id.Kind = "kustomization" },
		"namespace": func(id *seal.Identity) { id.Namespace = "other" },
		"name":      func(id *seal.Identity) { id.Name = "db" },
		"uid":       func(id *seal.Identity) { id.UID = "0b6f" },
		"swapped":   func(id *seal.Identity) { id.Namespace, id.Name = id.Name, id.Namespace },
		"shifted":   func(id *seal.Identity) { id.Namespace, id.Name = "appsw", "eb" },
	} {
		id := subject()
		change(&id)
		out[name] = id
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	k := keyring(t, seal.NewKeyringData())
	for name, plain := range map[string][]byte{
		"a render": bytes.Repeat([]byte("kind: ConfigMap\n"), 1000), "one byte": {0}, "nothing": {},
	} {
		id, out := sealed(t, k, plain)
		got, err := k.Open(subject(), id, out)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: got %d bytes, error %v", name, len(got), err)
		}
		if len(plain) > 100 && (len(out) > len(plain)/4 || bytes.Contains(out, plain[:16])) {
			t.Errorf("%s: not compressed or not encrypted (%d bytes)", name, len(out))
		}
	}
}

func TestSealTwiceDiffersAndContentIDDoesNot(t *testing.T) {
	k := keyring(t, seal.NewKeyringData())
	id1, out1 := sealed(t, k, []byte("x"))
	id2, out2 := sealed(t, k, []byte("x"))
	if bytes.Equal(out1, out2) {
		t.Error("two seals share a nonce")
	}
	if id1 != id2 || len(id1) != 64 {
		t.Errorf("content ids %q and %q", id1, id2)
	}
	if keyring(t, seal.NewKeyringData()).ContentID([]byte("x")) == id1 {
		t.Error("the content id does not depend on the naming key")
	}
}

// TestTamperedRender flips every byte, one at a time, and cuts the input at
// every length.
func TestTamperedRender(t *testing.T) {
	k := keyring(t, seal.NewKeyringData())
	id, out := sealed(t, k, []byte("kind: Secret"))
	for i := range out {
		bad := bytes.Clone(out)
		bad[i] ^= 0x40
		if got, err := k.Open(subject(), id, bad); err == nil || got != nil {
			t.Errorf("byte %d of %d changed: opened", i, len(out))
		}
		if _, err := k.Open(subject(), id, out[:i]); err == nil {
			t.Errorf("cut to %d of %d bytes: opened", i, len(out))
		}
	}
	if _, err := k.Open(subject(), id, append(bytes.Clone(out), 0)); err == nil {
		t.Error("one byte longer: opened")
	}
}

func TestMovedRender(t *testing.T) {
	k := keyring(t, seal.NewKeyringData())
	id, out := sealed(t, k, []byte("kind: Secret"))
	for name, other := range others() {
		_, err := k.Open(other, id, out)
		wantErr(t, name, err, seal.ErrForged)
	}
	_, err := k.Open(subject(), k.ContentID([]byte("another")), out)
	wantErr(t, "content id", err, seal.ErrForged)
}

func TestIncompleteIdentity(t *testing.T) {
	k := keyring(t, seal.NewKeyringData())
	id, out := sealed(t, k, []byte("x"))
	for name, blank := range map[string]func(*seal.Identity){
		"cluster":   func(id *seal.Identity) { id.Cluster = "" },
		"kind":      func(id *seal.Identity) { id.Kind = "" },
		"namespace": func(id *seal.Identity) { id.Namespace = "" },
		"name":      func(id *seal.Identity) { id.Name = "" },
		"uid":       func(id *seal.Identity) { id.UID = "" },
	} {
		who := subject()
		blank(&who)
		_, err := k.Seal(who, id, []byte("x"))
		wantErr(t, "seal without "+name, err, seal.ErrIdentity)
		_, err = k.Open(who, id, out)
		wantErr(t, "open without "+name, err, seal.ErrIdentity)
		_, err = k.VerifyHead("x", who)
		wantErr(t, "verify without "+name, err, seal.ErrIdentity)
		h := head(k)
		h.Identity = who
		_, err = k.SignHead(h)
		wantErr(t, "sign without "+name, err, seal.ErrIdentity)
	}
	_, err := k.Seal(subject(), "", []byte("x"))
	wantErr(t, "seal without a content id", err, seal.ErrIdentity)
}

func TestRotation(t *testing.T) {
	old := seal.NewKeyringData()
	rotated, err := seal.RotateKeyringData(old)
	if err != nil {
		t.Fatal(err)
	}
	before, after := keyring(t, old), keyring(t, rotated)
	id, out := sealed(t, before, []byte("x"))
	if after.ContentID([]byte("x")) != id {
		t.Error("rotation changed the content id")
	}
	if _, err := after.Open(subject(), id, out); err != nil {
		t.Errorf("open what the old key sealed: %v", err)
	}
	_, fresh := sealed(t, after, []byte("x"))
	_, err = before.Open(subject(), id, fresh)
	wantErr(t, "open with a keyring that is behind", err, seal.ErrUnknownKey)
	token, err := after.SignHead(head(after))
	if err != nil {
		t.Fatal(err)
	}
	_, err = before.VerifyHead(token, subject())
	wantErr(t, "verify with a keyring that is behind", err, seal.ErrUnknownKey)

	maps.DeleteFunc(rotated, func(entry string, _ []byte) bool { _, ok := old[entry]; return ok && strings.HasPrefix(entry, "key.") })
	_, err = keyring(t, rotated).Open(subject(), id, out)
	wantErr(t, "open what a removed key sealed", err, seal.ErrUnknownKey)
}

func TestForeignKeyOfTheSameID(t *testing.T) {
	data := seal.NewKeyringData()
	id, out := sealed(t, keyring(t, data), []byte("x"))
	token, err := keyring(t, data).SignHead(head(keyring(t, data)))
	if err != nil {
		t.Fatal(err)
	}
	forged := maps.Clone(data)
	forged["key."+string(data["current"])] = bytes.Repeat([]byte{7}, 32)
	k := keyring(t, forged)
	_, err = k.Open(subject(), id, out)
	wantErr(t, "open", err, seal.ErrForged)
	_, err = k.VerifyHead(token, subject())
	wantErr(t, "verify", err, seal.ErrForged)
}

func TestParseKeyringRefuses(t *testing.T) {
	for why, change := range map[string]func(map[string][]byte){
		"nothing at all":           func(d map[string][]byte) { clear(d) },
		"no current id":            func(d map[string][]byte) { delete(d, "current") },
		"a current id of no key":   func(d map[string][]byte) { d["current"] = []byte("gone") },
		"no naming key":            func(d map[string][]byte) { delete(d, "naming") },
		"a short naming key":       func(d map[string][]byte) { d["naming"] = d["naming"][:31] },
		"a short key":              func(d map[string][]byte) { d["key.x"] = []byte("short") },
		"an empty key":             func(d map[string][]byte) { d["key.x"] = nil },
		"a key without an id":      func(d map[string][]byte) { d["key."] = d["naming"] },
		"a key with a longest id+": func(d map[string][]byte) { d["key."+strings.Repeat("x", 64)] = d["naming"] },
	} {
		data := seal.NewKeyringData()
		change(data)
		_, err := seal.ParseKeyring(data)
		wantErr(t, why, err, seal.ErrKeyring)
		for entry, key := range data {
			if len(key) > 16 && err != nil && strings.Contains(err.Error(), string(key)) {
				t.Errorf("%s: the error shows the key of %s", why, entry)
			}
		}
	}
	_, err := seal.RotateKeyringData(nil)
	wantErr(t, "rotate nothing", err, seal.ErrKeyring)
}

func TestEmptyKeyring(t *testing.T) {
	for name, k := range map[string]*seal.Keyring{"nil": nil, "zero": {}} {
		if _, err := k.Seal(subject(), "id", []byte("x")); err == nil {
			t.Errorf("%s keyring sealed", name)
		}
		if _, err := k.SignHead(head(keyring(t, seal.NewKeyringData()))); err == nil {
			t.Errorf("%s keyring signed", name)
		}
		if _, err := k.VerifyHead("sluice1...", subject()); err == nil {
			t.Errorf("%s keyring verified", name)
		}
		if _, err := k.Open(subject(), "id", []byte("SLR1\x00aaaaaaaaaaaaaaaaaaaaaaaaaaaa")); err == nil {
			t.Errorf("%s keyring opened", name)
		}
	}
}

func TestTooLarge(t *testing.T) {
	k := keyring(t, seal.NewKeyringData())
	_, err := k.Seal(subject(), "id", make([]byte, seal.MaxPlain+1))
	wantErr(t, "seal", err, seal.ErrTooLarge)
}

// What is larger than its reader has room for takes no memory, however small it is when sealed.
func TestOpenWithin(t *testing.T) {
	k := keyring(t, seal.NewKeyringData())
	const size = 32 << 20
	out, err := k.Seal(subject(), "id", make([]byte, size))
	if err != nil {
		t.Fatal(err)
	}
	taken := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			_, err := k.OpenWithin(subject(), "id", out, size-1)
			wantErr(t, "open within less", err, seal.ErrTooLarge)
		}
	}).AllocedBytesPerOp()
	if taken > size/16 {
		t.Errorf("%d bytes were taken for a render of %d", taken, size)
	}
	if plain, err := k.OpenWithin(subject(), "id", out, size); err != nil || len(plain) != size {
		t.Errorf("within its size: %d bytes, %v", len(plain), err)
	}
}

// TestBomb opens what a holder of the key could seal: a few kilobytes that
// expand past the bound.
func TestBomb(t *testing.T) {
	var bomb bytes.Buffer
	w, err := zstd.NewWriter(&bomb)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range seal.MaxPlain>>20 + 1 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	k := keyring(t, seal.NewKeyringData())
	out, err := seal.SealPacked(k, subject(), "id", bomb.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Open(subject(), "id", out)
	wantErr(t, "open", err, seal.ErrTooLarge)

	out, err = seal.SealPacked(k, subject(), "id", []byte("not compressed"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Open(subject(), "id", out)
	wantErr(t, "open what is not compressed", err, seal.ErrFormat)
}

func head(k *seal.Keyring) seal.Head {
	return seal.Head{
		Identity: subject(), Generation: 3, Revision: "main@sha1:abc", SourceDigest: "sha256:1", SpecDigest: "sha256:2",
		RenderID: k.ContentID([]byte("x")), Objects: 5, BuiltAt: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Details: map[string]string{"action": "upgrade", "a": "b"},
	}
}

func TestHead(t *testing.T) {
	k := keyring(t, seal.NewKeyringData())
	token, err := k.SignHead(head(k))
	if err != nil {
		t.Fatal(err)
	}
	again, err := k.SignHead(head(k))
	if err != nil || again != token {
		t.Errorf("the same head gives another token, error %v", err)
	}
	got, err := k.VerifyHead(token, subject())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(head(k), got); diff != "" {
		t.Errorf("head (-want +got):\n%s", diff)
	}
	for name, other := range others() {
		_, err := k.VerifyHead(token, other)
		wantErr(t, name, err, seal.ErrForged)
	}
	for i := range token {
		bad := []byte(token)
		bad[i] ^= 1
		if _, err := k.VerifyHead(string(bad), subject()); err == nil {
			t.Errorf("byte %d of %d changed: verified", i, len(token))
		}
	}
	for why, bad := range map[string]string{
		"empty": "", "huge": strings.Repeat("a", 1<<20), "no HMAC": token[:strings.LastIndex(token, ".")+1],
		"spaces": token + " ", "a fifth part": token + ".x",
	} {
		if _, err := k.VerifyHead(bad, subject()); err == nil {
			t.Errorf("%s: verified", why)
		}
	}
}

func TestHeadRefusesWhatItCannotBeCheckedBy(t *testing.T) {
	k := keyring(t, seal.NewKeyringData())
	for name, blank := range map[string]func(*seal.Head){
		"revision":      func(h *seal.Head) { h.Revision = "" },
		"source digest": func(h *seal.Head) { h.SourceDigest = "" },
		"spec digest":   func(h *seal.Head) { h.SpecDigest = "" },
		"render id":     func(h *seal.Head) { h.RenderID = "" },
	} {
		h := head(k)
		blank(&h)
		if _, err := k.SignHead(h); err == nil {
			t.Errorf("signed without %s", name)
		}
	}
	h := head(k)
	h.Details = map[string]string{"x": strings.Repeat("x", 64<<10)}
	_, err := k.SignHead(h)
	wantErr(t, "sign a huge head", err, seal.ErrTooLarge)
}
